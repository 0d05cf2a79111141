"""Gradients estimated from scores, held against the gradient of a linear model, which is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from robustly.attacks.bandits import MANNERS, exponentiated, remembered
from robustly.core import keys
from robustly.goals import Goal
from robustly.losses import margin
from robustly.oracle import Access, Limits, Model, Oracle
from robustly.steps import Case
from robustly.steps.estimates import antithetic, compared, gaussian, pairs_of, signs
from robustly.threats import L2, Domain, Linf

N, ROWS = 40, 30
WAY = torch.randn(N, generator=torch.Generator().manual_seed(4))


def linear(z: Tensor) -> Tensor:
    """The margin towards class 1 rises along WAY."""
    return torch.stack((torch.full((len(z),), 50.0), (z.flatten(1) * WAY).sum(1)), 1)


def case_of(threat, limits=None, low=0.0, high=1.0):
    x = torch.full((ROWS, N), (low + high) / 2)
    model = Model(linear, Domain(low, high), classes=2).granting(Access.SCORES)
    around, goal = threat.at(x, model.domain), Goal(torch.zeros(ROWS, dtype=torch.int64))
    oracle = Oracle(model, around, goal, limits=limits or Limits(), press_on=True)
    return Case(around, goal, keys.from_ids(0, [str(i) for i in range(ROWS)]), oracle)


def cosine(grad: Tensor, way: Tensor = WAY) -> Tensor:
    return torch.nn.functional.cosine_similarity(grad.flatten(1), way[None], dim=1)


@pytest.mark.parametrize("threat", [Linf(0.4), L2(2.0)], ids=str)
@pytest.mark.parametrize("draw", [gaussian, signs])
@pytest.mark.parametrize("pairs", [10, 40, 160])
def test_the_direction_is_as_near_as_theory_says(draw, pairs, threat):
    """P random directions of n coordinates span a share of P / (P + n + 1) of the squared gradient."""
    case = case_of(threat)
    guess, _ = antithetic(draw, pairs, 0.01).estimate(case, (), case.around.x, margin, range(pairs))
    expected = math.sqrt(pairs / (pairs + N + 1))
    found = cosine(guess.grad)
    assert abs(found.mean() - expected) < 0.05
    assert (found > expected - 0.3).all()
    assert case.oracle.ledger.forward.unique().tolist() == [2 * pairs]


def test_the_length_is_the_slope_and_the_value_the_loss():
    case = case_of(Linf(0.4))
    guess, _ = antithetic(signs, 400, 0.01).estimate(case, (), case.around.x, margin, range(400))
    along = (guess.grad * WAY).sum(1) / WAY.norm()
    assert torch.allclose(along.mean(), WAY.norm(), rtol=0.02)
    assert torch.allclose(guess.value, margin(linear(case.around.x), case.goal), atol=0.02)


def test_an_estimate_is_in_units_of_the_input():
    here, wide = case_of(Linf(0.4)), case_of(Linf(40.0), low=0.0, high=100.0)
    one, hundred = (
        antithetic(gaussian, 20, 0.01).estimate(c, (), c.around.x, margin, range(20))[0].grad for c in (here, wide)
    )
    assert torch.allclose(one, hundred, rtol=1e-2, atol=1e-2)


def test_only_members_are_asked_at_the_edge_too():
    case = case_of(Linf(0.1))
    edge = case.around.linear_max(torch.randn(ROWS, N, generator=torch.Generator().manual_seed(1)))
    seen = []
    model = case.oracle.model
    case.oracle.model = Model(lambda z: seen.append(z) or linear(z), model.domain, Access.SCORES, classes=2)
    guess, _ = antithetic(gaussian, 50, 0.01).estimate(case, (), edge, margin, range(50))
    for z in seen:
        assert case.around.take(torch.arange(ROWS).repeat(len(z) // ROWS)).contains(z).all()
    assert cosine(guess.grad).mean() > 0.6


def test_a_pair_that_is_not_asked_whole_says_nothing():
    case = case_of(Linf(0.4), Limits(3))
    change = 0.01 * WAY.expand(ROWS, N)
    seen = compared(case, case.around.x, [(change, -change), (change, -change)], margin)
    assert (seen.rises[0] > 0).all()
    assert (seen.rises[1] == 0).all()
    assert case.oracle.ledger.forward.unique().tolist() == [3]


def test_a_prior_remembers():
    """With two points a step the estimate comes near the gradient only because it adds up."""
    for threat, kind in ((Linf(0.4), 0), (L2(2.0), 1)):
        case = case_of(threat)
        estimator = remembered(0)
        prior = estimator.init(case)
        found = []
        for number in range(300):
            guess, prior = estimator.estimate(case, prior, case.around.x, margin, range(number, number + 1))
            found.append(cosine(guess.grad).mean().item())
        assert found[0] < 0.35
        assert found[-1] > 0.6, (kind, found[-1])
        assert case.oracle.ledger.forward.unique().tolist() == [600]


def test_an_exponentiated_step_stays_within_one_and_goes_up_the_gradient():
    prior = torch.tensor([-0.999, -0.5, 0.0, 0.5, 0.999, 0.0])
    gradient = torch.tensor([1.0, 1.0, -1.0, 0.0, 100.0, -100.0])
    after = exponentiated(prior, gradient)
    assert (after.abs() < 1).all()
    assert torch.equal((after - prior).sign()[:4], gradient.sign()[:4])
    by_hand = (1.5 * math.e - 0.5 / math.e) / (1.5 * math.e + 0.5 / math.e)
    assert exponentiated(torch.tensor([0.5]), torch.tensor([1.0])).item() == pytest.approx(by_hand, rel=1e-5)
    assert len(MANNERS) == 2


def test_signs_and_pairs():
    drawn = signs(keys.from_ids(0, ["a", "b"]), (500,))
    assert drawn.abs().unique().tolist() == [1.0]
    assert drawn.mean().abs() < 0.1
    assert [pairs_of(n) for n in (1, 2, 3, 50)] == [1, 1, 2, 25]
