from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from robustly.attacks.cw import cw
from robustly.attacks.pgd import pgd
from robustly.core.errors import AccessError, UsageError
from robustly.goals import Goal
from robustly.oracle import Access
from robustly.steps.penalty import NEVER, Weights, bisected, hinge
from robustly.steps.tanh import from_inputs, to_inputs
from robustly.threats import L0, L1, L2, Both, Domain, Linf

from .small import small

QUICK = {"steps": 60, "binary_steps": 5, "rate": 0.02, "initial_const": 0.01}


@pytest.mark.parametrize("shape", [(1, 6, 6), (20,)])
def test_finds_nearer_points_than_pgd(shape):
    """PGD breaks few within 0.9 of the distance found, and most within 1.1 of it."""
    problem = small(shape)
    ledger = problem.run(cw(120, 7, 0.01, 0.0, 0.01), L2(math.inf), press_on=True)
    assert ledger.firm.all()
    assert (problem.model.ask(ledger.point).argmax(1) != problem.y).all()
    below = problem.run(pgd(60), L2(ledger.distance * 0.9))
    above = problem.run(pgd(60), L2(ledger.distance * 1.1))
    assert below.firm.double().mean() < 0.2
    assert above.firm.double().mean() > 0.8


@pytest.mark.parametrize("shape", [(1, 6, 6), (20,)])
def test_within_an_eps(shape):
    problem = small(shape)
    found = problem.run(cw(**QUICK), L2(0.8))
    reference = problem.run(pgd(100), L2(0.8))
    assert reference.firm.sum() >= 6
    assert found.firm.sum() >= reference.firm.sum() - 1
    assert (found.distance[found.firm] <= 0.8 * (1 + 1e-6)).all()


def test_passes():
    """As many forward as backward; no more than all steps of all descents, and that many where none stalls."""
    problem = small()
    ledger = problem.run(cw(5, 3), L2(1e-3))
    assert 3 <= ledger.forward.min() <= ledger.forward.max() <= 15
    assert torch.equal(ledger.forward, ledger.backward)
    assert problem.run(cw(20, 1, 1e-3, 0.0, 10.0), L2(1e-3)).forward.unique().tolist() == [20]
    assert problem.run(cw(1, 2), L2(1e-3)).forward.unique().tolist() == [2]


def test_a_descent_that_stalls_is_ended_for_its_row_alone():
    problem = small()
    ledger = problem.run(cw(200, 1, initial_const=1e-9), L2(math.inf), press_on=True)
    assert ledger.forward.max() < 200
    strong = problem.run(cw(200, 1, rate=0.001, initial_const=10.0), L2(math.inf), press_on=True)
    assert strong.forward.max() == 200
    assert len(strong.forward.unique()) > 1


def test_eps_of_each_example_and_a_target():
    problem = small()
    eps = torch.where(torch.arange(24) % 2 == 0, 0.0, 2.5)
    target = (problem.y + 1) % 4
    ledger = problem.run(cw(**QUICK), L2(eps), Goal(problem.y, target))
    assert not ledger.hit[::2].any()
    assert ledger.firm[1::2].sum() >= 8
    assert torch.equal(problem.model.ask(ledger.point).argmax(1)[ledger.firm], target[ledger.firm])


@pytest.mark.parametrize("threat", [Linf(0.3), L1(6.0), L0(36)], ids=str)
def test_in_other_balls(threat):
    problem = small()
    ledger = problem.run(cw(**QUICK), threat)
    assert ledger.firm.sum() >= 6
    assert threat.at(problem.x, problem.model.domain).contains(ledger.point).all()


def test_masked_numbers_stay():
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[:, :, :3] = True
    problem = small()
    ledger = problem.run(cw(**QUICK), L2(math.inf, mask), press_on=True)
    assert ledger.firm.any()
    assert torch.equal(ledger.point[..., 3:], problem.x[..., 3:])


def test_any_input_range():
    """The same problem on 0..255 gives the same distances, 255 times as large."""
    a = small().run(cw(**QUICK), L2(math.inf), press_on=True)
    b = small(low=0.0, high=255.0).run(cw(**QUICK), L2(math.inf), press_on=True)
    assert (a.distance * 255 / b.distance - 1).abs().median() < 0.01


def test_more_confidence_goes_further():
    problem = small()
    margins = []
    for confidence in (0.0, 1.0):
        problem.run(cw(**QUICK, confidence=confidence), L2(math.inf), press_on=True)
        points = [z for z in problem.asked if len(z) == 24]
        margins.append(min(Goal(problem.y).margin(problem.model.ask(z)).mean() for z in list(points)))
    assert margins[1] < margins[0] - 0.3


def test_tanh_space_and_back():
    x = torch.tensor([[0.0, 0.2, 0.5, 1.0]])
    mask = torch.tensor([True, True, False, True])
    around = L2(1.0, mask).at(x, Domain(0.0, 1.0))
    w = from_inputs(around.low, around.high, x)
    assert torch.isfinite(w).all()
    z, slope = to_inputs(around.low, around.high, w)
    assert torch.allclose(z, x, atol=1e-6)
    assert slope[0, 2] == 0
    assert to_inputs(around.low, around.high, w + 5)[0][0, 2] == 0.5
    step = 1e-3
    numeric = (to_inputs(around.low, around.high, w + step)[0] - to_inputs(around.low, around.high, w - step)[0]) / (
        2 * step
    )
    assert torch.allclose(slope, numeric, atol=1e-4)


def test_bisection_of_the_weight():
    weights = Weights(torch.tensor([1.0, 1.0, 4.0]), torch.tensor([0.0, 0.0, 2.0]), torch.tensor([NEVER, NEVER, 6.0]))
    weights = bisected(weights, torch.tensor([False, True, False]))
    assert weights.now.tolist() == [10.0, 0.5, 5.0]
    assert weights.low.tolist() == [1.0, 0.0, 4.0]
    assert weights.high.tolist() == [NEVER, 1.0, 6.0]


def test_the_loss_is_flat_beyond_the_confidence():
    scores = torch.tensor([[3.0, 1.0], [1.0, 1.5], [0.0, 5.0]], requires_grad=True)
    value = hinge(1.0)(scores, Goal(torch.zeros(3, dtype=torch.int64)))
    assert value.tolist() == [-3.0, -0.5, 0.0]
    value.sum().backward()
    assert scores.grad[2].tolist() == [0.0, 0.0]
    assert scores.grad[1].tolist() == [-1.0, 1.0]


def test_what_it_cannot_do_is_refused():
    problem = small()
    with pytest.raises(UsageError, match="norm ball"):
        problem.run(cw(5, 1), Both(Linf(0.1), L2(1.0)))
    with pytest.raises(UsageError, match="bounded input range"):
        replace(problem, model=replace(problem.model, domain=Domain())).run(cw(5, 1), L2(1.0))
    with pytest.raises(AccessError, match="needs gradients"):
        problem.granting(Access.SCORES).run(cw(5, 1), L2(1.0))


@pytest.mark.parametrize(
    "arguments",
    [
        {"steps": 0},
        {"binary_steps": 0},
        {"rate": 0.0},
        {"initial_const": -1.0},
        {"confidence": -1.0},
        {"rate": math.nan},
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        cw(**arguments)
