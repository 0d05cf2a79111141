from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from robustly.attacks.pgd import pgd
from robustly.attacks.trust_region import trust_region
from robustly.core.errors import AccessError, UsageError
from robustly.goals import Goal
from robustly.oracle import Access
from robustly.threats import L1, L2, Domain, Linf

from .small import small


@pytest.mark.parametrize("norm", [Linf, L2])
def test_finds_nearer_points_than_pgd(norm):
    problem = small(count=12)
    ledger = problem.run(trust_region(60), norm(math.inf), press_on=True)
    assert ledger.firm.all()
    below = problem.run(pgd(60), norm(ledger.distance * 0.9))
    above = problem.run(pgd(60), norm(ledger.distance * 1.1))
    assert below.firm.double().mean() < 0.2
    assert above.firm.double().mean() > 0.8


def test_what_it_costs():
    """The clean scores, a jacobian of the label and three others, the steps, the last point."""
    problem = small(count=4)
    ledger = problem.run(trust_region(5, size=1e-3, binary_steps=0), Linf(math.inf), press_on=True)
    assert ledger.forward.unique().tolist() == [1 + 1 + 5 + 1]
    assert ledger.backward.unique().tolist() == [4 + 5]
    one = problem.run(trust_region(5, size=1e-3, targets=1, binary_steps=0), Linf(math.inf), press_on=True)
    assert one.backward.unique().tolist() == [5]


def test_the_nearest_border_is_a_better_target_than_the_most_likely_class():
    problem = small(count=24)
    best, likely = (problem.run(trust_region(60, targets=k), Linf(math.inf), press_on=True).distance for k in (3, 1))
    assert (best < 0.98 * likely).any()
    assert best.mean() <= likely.mean()


def test_ends_at_the_border_unless_pressed_on():
    problem = small(count=12)
    ended = problem.run(trust_region(60), L2(math.inf))
    pressed = problem.run(trust_region(60), L2(math.inf), press_on=True)
    assert ended.firm.all()
    assert ended.forward.max() < pressed.forward.min()
    assert (pressed.distance <= ended.distance + 1e-6).all()


def test_a_target_and_an_eps():
    problem = small(count=12)
    target = (problem.y + 1) % 4
    ledger = problem.run(trust_region(60), L2(2.5), Goal(problem.y, target))
    assert ledger.firm.sum() >= 4
    assert torch.equal(problem.model.ask(ledger.point).argmax(1)[ledger.firm], target[ledger.firm])


def test_what_it_cannot_do_is_refused():
    problem = small(count=4)
    with pytest.raises(UsageError, match="trust_region works in norm balls"):
        problem.run(trust_region(5), L1(1.0))
    with pytest.raises(UsageError, match="bounded input range"):
        replace(problem, model=replace(problem.model, domain=Domain())).run(trust_region(5), L2(1.0))
    with pytest.raises(AccessError, match="needs gradients"):
        problem.granting(Access.SCORES).run(trust_region(5), L2(1.0))


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"targets": 0}, {"binary_steps": -1}, {"size": -1.0}])
def test_settings_that_make_no_sense_are_refused(arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        trust_region(**arguments)
