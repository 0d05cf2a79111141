"""FAB: where it walks, what it costs, and what it does when no gradient helps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from robustly.attacks.fab import fab, fab_t
from robustly.attacks.noise import noise
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.steps import per_target
from robustly.threats import L0, L1, L2, Both, Linf

from .small import small

BALLS = {"linf": Linf, "l2": L2, "l1": L1}
EPS = {"linf": 0.1, "l2": 0.4, "l1": 1.2}


@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 4, 2), (20,)])
@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("attack", [fab(20), fab_t(20)], ids=["fab", "fab_t"])
def test_breaks_much_more_than_noise(attack, norm, shape):
    problem, threat = small(shape), BALLS[norm](2 * EPS[norm])
    found = problem.run(attack, threat).firm.sum()
    assert found >= 12
    assert found > 1.5 * problem.run(noise(30), threat).firm.sum()


@pytest.mark.parametrize("norm", BALLS)
def test_pressing_on_in_an_endless_ball_finds_nearer_points_the_longer_it_walks(norm):
    problem, endless = small(), BALLS[norm](float("inf"))
    one, few, many = (problem.run(fab_t(n, 3, binary_steps=0), endless, press_on=True) for n in (1, 3, 20))
    assert many.firm.all()
    assert (many.distance <= few.distance).all()
    assert many.distance.mean() < few.distance.mean() < one.distance[one.hit].mean()


@pytest.mark.parametrize("norm", BALLS)
def test_the_search_at_the_end_brings_points_nearer_and_costs_what_it_says(norm):
    problem, endless = small(), BALLS[norm](float("inf"))
    without, with_it = (problem.run(fab_t(10, 1, binary_steps=n), endless, press_on=True) for n in (0, 3))
    assert (with_it.distance <= without.distance).all()
    assert (with_it.distance < without.distance * 0.9995).sum() > 12
    assert (with_it.forward - without.forward).unique().tolist() == [3]


def test_passes_of_a_survivor():
    """The authors' code pays 203 forward and 100 backward passes for 100 steps towards a target, so 2 s + 3 for s."""
    ledger = small().run(fab_t(40, 3), Linf(1e-4))
    assert not ledger.firm.any()
    assert ledger.forward.max() == 1 + 3 * (80 + 3)  # the clean scores once
    assert ledger.backward.unique().tolist() == [120]
    ledger = small().run(fab(10, binary_steps=0), Linf(1e-4))
    assert ledger.forward.unique().tolist() == [21]
    assert ledger.backward.unique().tolist() == [40]  # four classes


def test_with_a_finite_eps_a_row_ends_at_its_first_point_inside():
    ledger = small().run(fab_t(100, 3), Linf(0.3))
    assert ledger.firm.all()
    assert ledger.forward.max() < 60


def test_it_walks_in_the_domain_and_not_in_the_ball():
    problem = small()
    problem.run(fab_t(5, 3), Linf(0.01))
    asked = torch.cat([z for z in problem.asked if len(z) == len(problem.x)])
    away = (asked - problem.x.repeat(len(asked) // len(problem.x), 1, 1, 1)).abs()
    assert away.max() > 0.1
    assert asked.min() >= 0
    assert asked.max() <= 1


@pytest.mark.parametrize("norm", BALLS)
def test_what_a_mask_forbids_is_never_asked_otherwise(norm):
    problem, mask = small(), torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0)) < 0.6
    ledger = problem.run(fab_t(8, 2, times=2), BALLS[norm](float("inf"), mask), press_on=True)
    assert ledger.hit.sum() > 18
    for z in problem.asked:
        if len(z) == len(problem.x):
            assert torch.equal(z[:, ~mask], problem.x[:, ~mask])


@pytest.mark.parametrize("norm", BALLS)
def test_later_walks_start_half_as_far_as_eps(norm):
    problem, threat = small(), BALLS[norm](EPS[norm] / 50)
    assert not problem.run(fab_t(1, 1, times=2), threat).firm.any()
    around = threat.at(problem.x, problem.model.domain)
    begins = [z for z in problem.asked if len(z) == len(problem.x) and not torch.equal(z, problem.x)]
    nearest = torch.stack([around.distance(z) for z in begins]).amin(0) / around.eps
    assert (nearest <= 0.5 + 1e-3).all()  # nearer where the domain cuts it
    assert nearest.median() > 0.3


def test_several_walks_find_more():
    problem, threat = small((3, 4, 2)), L2(float("inf"))
    one, more = (problem.run(fab_t(4, 1, times=n), threat, press_on=True) for n in (1, 4))
    assert (more.distance <= one.distance).all()
    assert (more.distance < one.distance * 0.999).sum() > 3


def test_fewer_classes_are_fewer_targets():
    ledger = small().run(fab_t(5, 9), Linf(1e-4))
    assert ledger.backward.unique().tolist() == [15]


def test_fab_t_is_fab_per_target():
    a, b = small().run(fab_t(6, 2), L2(1.0)), small().run(per_target(fab(6), 2), L2(1.0))
    assert torch.equal(a.distance, b.distance)
    assert torch.equal(a.forward, b.forward)


@pytest.mark.parametrize("attack", [fab(15), fab_t(15)], ids=["fab", "fab_t"])
def test_a_zero_or_missing_gradient_stops_nothing(attack):
    problem = small()
    plain = problem.model.call
    flat = replace(problem, model=replace(problem.model, call=lambda z: plain(z).detach() + 0 * z.flatten(1)[:, :1]))
    ledger = flat.run(attack, Linf(0.1))
    assert not ledger.firm.any()
    assert (ledger.flat > 0).all()


@pytest.mark.parametrize("attack", [fab(15), fab_t(15)], ids=["fab", "fab_t"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_are_evidence_and_do_not_spread(attack, bad):
    """Beyond 0.2 from the middle of the first input number the model answers nothing of use."""
    problem = small()
    plain = problem.model.call
    broken = lambda z: torch.where((z.flatten(1)[:, :1] > 0.8), bad, plain(z))  # noqa: E731
    ledger = replace(problem, model=replace(problem.model, call=broken)).run(attack, Linf(float("inf")), press_on=True)
    assert all(torch.isfinite(z).all() for z in problem.asked)
    assert ledger.hit.all()


def test_a_goal_with_a_target_is_reached():
    problem = small()
    scores = problem.model.ask(problem.x)
    target = scores.argsort(1, descending=True)[:, 2]
    ledger = problem.run(fab(30), L2(float("inf")), Goal(problem.y, target), press_on=True)
    assert ledger.firm.double().mean() > 0.9
    hit = ledger.firm
    assert torch.equal(problem.model.ask(ledger.point).argmax(1)[hit], target[hit])


@pytest.mark.parametrize(
    ("wrong", "say"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"times": 0}, "times must be at least 1"),
        ({"binary_steps": -1}, "binary_steps must be at least 0"),
        ({"alpha": 1.5}, "alpha is a share"),
        ({"beta": -0.1}, "beta is a share"),
        ({"eta": 0.9}, "eta must be at least 1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(wrong, say):
    with pytest.raises(UsageError, match=say):
        fab(**wrong)


@pytest.mark.parametrize("threat", [L0(3), Both(Linf(0.1), L2(1.0))], ids=str)
def test_a_set_it_cannot_walk_in_is_refused(threat):
    with pytest.raises(UsageError, match="linf, l2 and l1 balls"):
        small().run(fab(), threat)
