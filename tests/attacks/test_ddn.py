from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch

from robustly.attacks.ddn import ddn
from robustly.attacks.pgd import pgd
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle import Model
from robustly.threats import L2, Domain, Linf

from .small import small


@pytest.mark.parametrize("shape", [(1, 6, 6), (20,)])
def test_finds_nearer_points_than_pgd(shape):
    """PGD breaks few within 0.9 of the distance found, and most within 1.1 of it."""
    problem = small(shape)
    ledger = problem.run(ddn(100), L2(math.inf), press_on=True)
    assert ledger.firm.all()
    assert (problem.model.ask(ledger.point).argmax(1) != problem.y).all()
    assert problem.run(pgd(60), L2(ledger.distance * 0.9)).firm.double().mean() < 0.2
    assert problem.run(pgd(60), L2(ledger.distance * 1.1)).firm.double().mean() > 0.6


def test_length_of_the_change_follows_the_answers():
    """The change has the length that the answers set, wherever the bounds leave room for it."""
    problem = small()
    problem.run(ddn(6, gamma=0.1, length=0.2), L2(math.inf), press_on=True)
    asked = list(problem.asked)
    for row in range(24):
        length = 0.2
        for before, after in itertools.pairwise(asked):
            met = problem.model.ask(before[row : row + 1]).argmax(1) != problem.y[row]
            length *= 0.9 if met else 1.1
            found = (after[row] - problem.x[row]).norm().item()
            inside = ((after[row] > 0) & (after[row] < 1)).all()
            assert found == pytest.approx(length, rel=1e-4) if inside else found < length * 1.0001


def test_an_annealed_gamma_ends_nearer_with_few_steps():
    problem = small()
    plain = problem.run(ddn(30), L2(math.inf), press_on=True)
    annealed = problem.run(ddn(30, gamma=0.4, last_gamma=0.005), L2(math.inf), press_on=True)
    assert annealed.firm.all()
    assert annealed.distance.median() < plain.distance.median()


def test_levels_are_kept():
    problem = small()
    problem = replace(problem, x=(problem.x * 15).round() / 15)
    ledger = problem.run(ddn(60, levels=16), L2(math.inf), press_on=True)
    assert ledger.firm.double().mean() > 0.9
    levels = ledger.point[ledger.firm] * 15
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    free = problem.run(ddn(60), L2(math.inf), press_on=True).point * 15
    assert not torch.allclose(free, free.round(), atol=1e-2)


def test_a_flat_start_is_left_in_a_random_direction():
    """Where the gradient is zero at the input, the walk still gets away from it."""

    def call(z):
        far = (z.flatten(1) - 0.5).square().sum(1)
        return torch.stack((torch.ones_like(far) * 0.2, far.clamp_min(0.1)), 1)

    x = torch.full((4, 10), 0.5)
    problem = replace(small(), model=Model(call, Domain(0.0, 1.0), classes=2), x=x, y=torch.zeros(4, dtype=torch.int64))
    ledger = problem.run(ddn(60, length=0.1), L2(math.inf), press_on=True)
    assert ledger.firm.all()
    assert (ledger.distance < 1.1 * 0.2**0.5).all()


def test_passes_target_and_a_finite_eps():
    problem = small()
    ledger = problem.run(ddn(7), L2(math.inf), press_on=True)
    assert (ledger.forward.unique().tolist(), ledger.backward.unique().tolist()) == ([8], [7])
    within = problem.run(ddn(40), L2(0.8))
    assert within.firm.sum() >= problem.run(pgd(100), L2(0.8)).firm.sum() - 1
    assert (within.distance[within.firm] <= 0.8 * (1 + 1e-6)).all()
    target = (problem.y + 1) % 4
    aimed = problem.run(ddn(100), L2(math.inf), Goal(problem.y, target), press_on=True)
    assert aimed.firm.sum() >= 20
    assert torch.equal(problem.model.ask(aimed.point).argmax(1)[aimed.firm], target[aimed.firm])


def test_what_it_cannot_do_is_refused():
    problem = small()
    with pytest.raises(UsageError, match="can't walk in LinfBall; give it l2"):
        problem.run(ddn(5), Linf(0.1))
    with pytest.raises(UsageError, match="bounded input range"):
        replace(problem, model=replace(problem.model, domain=Domain())).run(ddn(5), L2(1.0))


@pytest.mark.parametrize(
    "arguments",
    [{"steps": 0}, {"gamma": 1.0}, {"last_gamma": 0.0}, {"rate": 0.0}, {"length": math.inf}, {"levels": 1}],
)
def test_settings_that_make_no_sense_are_refused(arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        ddn(**arguments)
