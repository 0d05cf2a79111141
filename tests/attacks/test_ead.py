from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from robustly.attacks.ead import ead
from robustly.attacks.pgd import pgd
from robustly.core.errors import AccessError, UsageError
from robustly.goals import Goal
from robustly.oracle import Access
from robustly.threats import L1, L2, Domain, Linf

from .small import small


def test_finds_nearer_points_than_pgd():
    problem = small(count=8)
    ledger = problem.run(ead(60, 7, initial_const=0.05), L1(math.inf), press_on=True)
    assert ledger.firm.all()
    below = problem.run(pgd(60), L1(ledger.distance * 0.75))
    assert below.firm.double().mean() < 0.4


def test_the_change_is_sparse_and_sparser_with_a_larger_beta():
    problem = small(count=8)
    changed = []
    for beta in (1e-6, 0.02):
        ledger = problem.run(ead(40, 6, beta=beta, initial_const=0.05), L1(math.inf), press_on=True)
        assert ledger.firm.all()
        changed.append((ledger.point != problem.x).flatten(1).double().mean(1))
    assert (changed[1] < changed[0]).all()
    assert changed[1].mean() < 0.7


def test_a_descent_asks_twice_and_goes_back_once_a_step():
    ledger = small(count=4).run(ead(6, 1, initial_const=10.0), L1(math.inf), press_on=True)
    assert ((2 * ledger.backward - ledger.forward) <= 1).all()  # the step that finds it stalled asks once
    assert (ledger.forward > ledger.backward).all()
    assert ledger.backward.max() == 6


def test_a_target_and_an_eps():
    problem = small(count=8)
    target = (problem.y + 1) % 4
    ledger = problem.run(ead(40, 6, initial_const=0.1), L1(8.0), Goal(problem.y, target))
    assert ledger.firm.sum() >= 3
    assert torch.equal(problem.model.ask(ledger.point).argmax(1)[ledger.firm], target[ledger.firm])
    assert (ledger.distance[ledger.firm] <= 8.0 * (1 + 1e-6)).all()


def test_what_it_cannot_do_is_refused():
    problem = small(count=4)
    with pytest.raises(UsageError, match="ead works in norm balls"):
        problem.run(ead(5, 1), Linf(0.1))
    with pytest.raises(UsageError, match="bounded input range"):
        replace(problem, model=replace(problem.model, domain=Domain())).run(ead(5, 1), L2(1.0))
    with pytest.raises(AccessError, match="needs gradients"):
        problem.granting(Access.SCORES).run(ead(5, 1), L1(1.0))


@pytest.mark.parametrize(
    "arguments",
    [{"steps": 0}, {"binary_steps": 0}, {"rate": 0.0}, {"beta": -1.0}, {"initial_const": 0.0}, {"confidence": -1.0}],
)
def test_settings_that_make_no_sense_are_refused(arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        ead(**arguments)
