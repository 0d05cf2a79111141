from __future__ import annotations

import math

import pytest
import torch

from robustly.attacks.pdpgd import pdpgd
from robustly.attacks.pgd import pgd
from robustly.core.errors import AccessError, UsageError
from robustly.goals import Goal
from robustly.oracle import Access
from robustly.threats import L0, L1, L2, Both, Domain, Linf

from .small import small

NORMS = [Linf, L2, L1]


@pytest.mark.parametrize("norm", NORMS)
def test_finds_nearer_points_than_pgd(norm):
    """PGD breaks few within 0.85 of the distance found."""
    problem = small(count=10)
    ledger = problem.run(pdpgd(150), norm(math.inf), press_on=True)
    assert ledger.firm.all()
    assert (problem.model.ask(ledger.point).argmax(1) != problem.y).all()
    below = problem.run(pgd(60), norm(ledger.distance * 0.85))
    assert below.firm.double().mean() < 0.4


def test_changes_few_coordinates_for_l0():
    problem = small(count=10)
    ledger = problem.run(pdpgd(150), L0(math.inf), press_on=True)
    assert ledger.firm.all()
    assert ledger.distance.median() <= 3
    assert not problem.run(pgd(60), L0(1.0)).firm.all()


@pytest.mark.parametrize("norm", [*NORMS, L0])
def test_what_it_costs(norm):
    problem = small(count=4)
    ledger = problem.run(pdpgd(7, binary_steps=0), norm(math.inf), press_on=True)
    assert ledger.forward.unique().tolist() == [8]
    assert ledger.backward.unique().tolist() == [7]


def test_bisections_at_the_end_only_bring_it_nearer():
    problem = small(count=10)
    without = problem.run(pdpgd(30, binary_steps=0), L2(math.inf), press_on=True)
    after = problem.run(pdpgd(30, binary_steps=8), L2(math.inf), press_on=True)
    found = without.firm
    assert (after.distance[found] <= without.distance[found]).all()
    assert (after.distance[found] < without.distance[found]).any()
    assert (after.forward - without.forward)[found].unique().tolist() == [8]


def test_a_target_and_an_eps():
    problem = small(count=10)
    target = (problem.y + 1) % 4
    ledger = problem.run(pdpgd(80), L2(2.5), Goal(problem.y, target))
    assert ledger.firm.sum() >= 4
    assert torch.equal(problem.model.ask(ledger.point).argmax(1)[ledger.firm], target[ledger.firm])
    assert (ledger.distance[ledger.firm] <= 2.5).all()
    assert ledger.forward[ledger.firm].max() < 81  # ended at the first point inside


def test_the_scale_of_the_scores_does_not_set_the_weights():
    """Scores ten times as large give nearly the same distances, since the weights start at the price of a change."""
    from dataclasses import replace

    problem = small(count=10)
    louder = replace(problem, model=replace(problem.model, call=lambda z, call=problem.model.call: 10 * call(z)))
    a, b = (p.run(pdpgd(120), L2(math.inf), press_on=True).distance for p in (problem, louder))
    assert ((a / b - 1).abs() < 0.15).all()


def test_masked_numbers_stay():
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[:, :, :3] = True
    problem = small(count=6)
    ledger = problem.run(pdpgd(60), L1(math.inf, mask), press_on=True)
    assert ledger.firm.any()
    assert torch.equal(ledger.point[..., 3:], problem.x[..., 3:])


def test_what_it_cannot_do_is_refused():
    from dataclasses import replace

    problem = small(count=4)
    with pytest.raises(UsageError, match="pdpgd works in norm balls"):
        problem.run(pdpgd(5), Both(Linf(0.1), L2(1.0)))
    with pytest.raises(UsageError, match="bounded input range"):
        replace(problem, model=replace(problem.model, domain=Domain())).run(pdpgd(5), L2(1.0))
    with pytest.raises(AccessError, match="needs gradients"):
        problem.granting(Access.SCORES).run(pdpgd(5), L2(1.0))


@pytest.mark.parametrize(
    "arguments", [{"steps": 0}, {"binary_steps": -1}, {"rate": -1.0}, {"dual_rate": 0.0}, {"ratio": math.nan}]
)
def test_settings_that_make_no_sense_are_refused(arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        pdpgd(**arguments)
