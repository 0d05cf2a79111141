from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from robustly.attacks.cw_linf import cw_linf
from robustly.core.errors import AccessError, UsageError
from robustly.goals import Goal
from robustly.oracle import Access
from robustly.threats import L2, Domain, Linf

from .small import small


def test_each_round_lowers_the_height():
    problem = small(count=10)
    few = problem.run(cw_linf(40, 2), Linf(math.inf), press_on=True)
    many = problem.run(cw_linf(40, 25), Linf(math.inf), press_on=True)
    assert many.firm.all()
    assert (many.distance <= few.distance).all()
    assert many.distance.median() < 0.9 * few.distance[few.hit].median()


def test_comes_near_what_trusted_attacks_find():
    from robustly.attacks.trust_region import trust_region

    problem = small(count=10)
    ours = problem.run(cw_linf(60, 40), Linf(math.inf), press_on=True).distance
    theirs = problem.run(trust_region(60), Linf(math.inf), press_on=True).distance
    assert (ours / theirs).median() < 1.15


def test_a_target_and_an_eps():
    problem = small(count=8)
    target = (problem.y + 1) % 4
    ledger = problem.run(cw_linf(40, 12), Linf(0.5), Goal(problem.y, target))
    assert ledger.firm.sum() >= 3
    assert torch.equal(problem.model.ask(ledger.point).argmax(1)[ledger.firm], target[ledger.firm])
    assert (ledger.distance[ledger.firm] <= 0.5 * (1 + 1e-5)).all()


def test_masked_numbers_stay():
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[:, :, :3] = True
    problem = small(count=6)
    ledger = problem.run(cw_linf(20, 6), Linf(math.inf, mask), press_on=True)
    assert ledger.firm.any()
    assert torch.equal(ledger.point[..., 3:], problem.x[..., 3:])


def test_what_it_cannot_do_is_refused():
    problem = small(count=4)
    with pytest.raises(UsageError, match="cw_linf works in norm balls"):
        problem.run(cw_linf(5, 1), L2(1.0))
    with pytest.raises(UsageError, match="bounded input range"):
        replace(problem, model=replace(problem.model, domain=Domain())).run(cw_linf(5, 1), Linf(1.0))
    with pytest.raises(AccessError, match="needs gradients"):
        problem.granting(Access.SCORES).run(cw_linf(5, 1), Linf(1.0))


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"binary_steps": 0}, {"rate": 0.0}, {"initial_const": -1.0}])
def test_settings_that_make_no_sense_are_refused(arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        cw_linf(**arguments)
