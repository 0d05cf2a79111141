from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from robustly.attacks.cw_l0 import cw_l0
from robustly.core.errors import AccessError, UsageError
from robustly.goals import Goal
from robustly.oracle import Access
from robustly.threats import L0, L2, Domain

from .small import small


def test_the_set_shrinks_to_a_few_coordinates():
    problem = small(count=10)
    ledger = problem.run(cw_l0(30, 40), L0(math.inf), press_on=True)
    assert ledger.firm.all()
    assert ledger.distance.median() <= 4
    assert torch.equal((ledger.point != problem.x).flatten(1).sum(1).double(), ledger.distance)


def test_each_round_takes_coordinates_back():
    problem = small(count=10)
    one = problem.run(cw_l0(40, 1, initial_const=1.0), L0(math.inf), press_on=True)
    ten = problem.run(cw_l0(40, 10, initial_const=1.0), L0(math.inf), press_on=True)
    assert one.firm.all()
    assert (ten.distance < one.distance - 5).all()


def test_a_target_and_an_eps():
    problem = small(count=8)
    target = (problem.y + 1) % 4
    ledger = problem.run(cw_l0(40, 12), L0(30), Goal(problem.y, target))
    assert ledger.firm.sum() >= 3
    assert torch.equal(problem.model.ask(ledger.point).argmax(1)[ledger.firm], target[ledger.firm])
    assert (ledger.distance[ledger.firm] <= 30 * (1 + 1e-5)).all()


def test_masked_numbers_stay():
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[:, :, :3] = True
    problem = small(count=6)
    ledger = problem.run(cw_l0(20, 6), L0(math.inf, mask), press_on=True)
    assert ledger.firm.any()
    assert torch.equal(ledger.point[..., 3:], problem.x[..., 3:])


def test_what_it_cannot_do_is_refused():
    problem = small(count=4)
    with pytest.raises(UsageError, match="cw_l0 works in norm balls"):
        problem.run(cw_l0(5, 1), L2(1.0))
    with pytest.raises(UsageError, match="bounded input range"):
        replace(problem, model=replace(problem.model, domain=Domain())).run(cw_l0(5, 1), L0(1.0))
    with pytest.raises(AccessError, match="needs gradients"):
        problem.granting(Access.SCORES).run(cw_l0(5, 1), L0(1.0))


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"binary_steps": 0}, {"rate": 0.0}, {"initial_const": -1.0}])
def test_settings_that_make_no_sense_are_refused(arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        cw_l0(**arguments)
