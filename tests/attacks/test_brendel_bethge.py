from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from robustly.attacks.brendel_bethge import brendel_bethge
from robustly.attacks.noise import noise
from robustly.attacks.pgd import pgd
from robustly.core.errors import AccessError, UsageError
from robustly.goals import Goal
from robustly.oracle import Access
from robustly.steps import in_turn
from robustly.threats import L1, L2, Both, Domain, Linf

from .small import small


@pytest.mark.parametrize("norm", [Linf, L2, L1])
def test_finds_nearer_points_than_pgd(norm):
    problem = small(count=10)
    ledger = problem.run(brendel_bethge(40), norm(math.inf), press_on=True)
    assert ledger.firm.all()
    below = problem.run(pgd(60), norm(ledger.distance * 0.85))
    assert below.firm.double().mean() < 0.4


@pytest.mark.parametrize("norm", [Linf, L2, L1])
def test_the_walk_shortens_what_it_starts_from(norm):
    problem = small(count=10)
    far = [in_turn(noise(60), brendel_bethge(steps, binary_steps=0)) for steps in (1, 40)]
    short, long = (problem.run(attack, norm(math.inf), press_on=True) for attack in far)
    assert long.firm.all()
    assert (long.distance <= short.distance).all()
    assert long.distance.median() < 0.8 * short.distance.median()


def test_goes_on_from_what_the_ledger_has():
    problem = small(count=10)
    first = problem.run(pgd(20), L2(2.5), press_on=True)
    both = problem.run(in_turn(pgd(20), brendel_bethge(20)), L2(2.5), press_on=True)
    hit = first.hit
    assert hit.any()
    assert (both.distance[hit] < first.distance[hit]).all()
    # one question finds that the ledger's point is adversarial, then 10 bisections, 20 steps, the end and 6 bisections
    assert (both.forward - first.forward)[hit].unique().tolist() == [1 + 10 + 20 + 1 + 6]


def test_an_example_without_a_start_is_left_alone():
    """A model that calls everything 0: all that is asked is the search for a start."""
    problem = small(count=4)
    still = replace(
        problem.model, call=lambda z: torch.stack((z.flatten(1).sum(1) * 0 + 1, z.flatten(1).sum(1) * 0), 1)
    )
    ledger = replace(problem, model=still, y=torch.zeros(4, dtype=torch.int64)).run(
        brendel_bethge(50, tries=3), L2(math.inf), press_on=True
    )
    assert not ledger.hit.any()
    assert ledger.forward.unique().tolist() == [18 + 3]


def test_a_target_and_an_eps():
    problem = small(count=10)
    target = (problem.y + 1) % 4
    ledger = problem.run(brendel_bethge(40), L2(2.5), Goal(problem.y, target))
    assert ledger.firm.sum() >= 4
    assert torch.equal(problem.model.ask(ledger.point).argmax(1)[ledger.firm], target[ledger.firm])
    assert (ledger.distance[ledger.firm] <= 2.5).all()


def test_masked_numbers_stay():
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[:, :, :3] = True
    problem = small(count=6)
    ledger = problem.run(brendel_bethge(10), Linf(math.inf, mask), press_on=True)
    assert ledger.firm.any()
    assert torch.equal(ledger.point[..., 3:], problem.x[..., 3:])


def test_what_it_cannot_do_is_refused():
    problem = small(count=4)
    with pytest.raises(UsageError, match="brendel_bethge works in norm balls"):
        problem.run(brendel_bethge(5), Both(Linf(0.1), L2(1.0)))
    with pytest.raises(UsageError, match="bounded input range"):
        replace(problem, model=replace(problem.model, domain=Domain())).run(brendel_bethge(5), L2(1.0))
    with pytest.raises(AccessError, match="needs gradients"):
        problem.granting(Access.SCORES).run(brendel_bethge(5), L2(1.0))


@pytest.mark.parametrize(
    "arguments",
    [{"steps": 0}, {"tries": 0}, {"binary_steps": -1}, {"size": 0.0}, {"decay": 1.0}, {"overshoot": 1.0}],
)
def test_settings_that_make_no_sense_are_refused(arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        brendel_bethge(**arguments)
