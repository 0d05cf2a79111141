from __future__ import annotations

import math

import pytest
import torch
from tests.exact.closed_form import attacked, binary, multiclass, no_nearer

from robustly.attacks.zoo import Descent, _moved, _slopes, costs, zoo
from robustly.core import keys
from robustly.losses import margin
from robustly.steps.penalty import hinge, weights_from
from robustly.steps.widths import room
from robustly.threats import L2

from .small import small
from .test_genattack import Case, Goal, Oracle


def start(problem):
    around, goal = L2(math.inf).at(problem.x, problem.model.domain), Goal(problem.y)
    oracle = Oracle(problem.model, around, goal, press_on=True)
    case = Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(problem.x))]), oracle)
    return case, room(case, "zoo")


@pytest.mark.parametrize("queries", [1, 2, 3, 4, 17, 129, 130, 1000])
def test_costs(queries):
    plan = costs(queries, 64)
    assert plan[0] == 1
    assert queries - 2 <= sum(plan) <= queries
    assert all(points % 2 and points <= 129 for points in plan)
    assert costs(0, 64) == [0]


@pytest.mark.parametrize("queries", [1, 5, 60, 301])
def test_a_survivor_costs_what_costs_says(queries):
    ledger = small().run(zoo(queries, width=8, binary_steps=2), L2(1e-4))
    wanted = sum(costs(queries // 2, 8)) + sum(costs(queries - queries // 2, 8))
    assert ledger.forward[~ledger.firm].unique().tolist() == [wanted]


def test_slopes_are_those_of_the_gradient():
    problem = small()
    case, space = start(problem)
    change = torch.full((24, 36), 0.01)
    order = torch.arange(36).expand(24, -1)
    change = torch.minimum(torch.maximum(change, space.least.flatten(1)), space.most.flatten(1))
    found = _slopes(case, space, change, order, margin)
    z = space.at(change.view_as(problem.x)).requires_grad_()
    (true,) = torch.autograd.grad(margin(problem.model.call(z), Goal(problem.y)).sum(), z)
    assert torch.allclose(found, true.flatten(1), atol=5e-3, rtol=2e-2)


def test_at_the_edge_of_the_domain_the_slope_is_one_sided():
    problem = small()
    problem = type(problem)(problem.model, torch.zeros_like(problem.x), problem.y, problem.asked)
    case, space = start(problem)
    found = _slopes(case, space, torch.zeros(24, 36), torch.arange(36).expand(24, -1), margin)
    z = problem.x.clone().requires_grad_()
    (true,) = torch.autograd.grad(margin(problem.model.call(z), Goal(problem.y)).sum(), z)
    assert torch.allclose(found, true.flatten(1), atol=1e-2, rtol=5e-2)
    assert all((z >= 0).all() for z in problem.asked)


def test_only_the_drawn_coordinates_move_each_by_adam():
    """The first step of Adam is the rate, against the slope of the objective."""
    problem = small()
    case, space = start(problem)
    none = torch.zeros(24, 36)
    state = Descent(none, none, none, none, none[:, 0] > 0)
    after = _moved(case, space, weights_from(torch.full((24,), 5.0)), state, 0, 7, 0.02, hinge(0.0))
    moved = after.change != 0
    assert (moved.sum(1) <= 7).all()
    assert moved.sum(1).double().mean() > 6
    size = after.change[moved].abs()
    assert (size <= 0.02 + 1e-5).all()
    assert size.median() > 0.0199
    assert torch.equal(after.moves.sum(1), torch.full((24,), 7.0))
    assert len(moved.unique(dim=0)) > 20


@pytest.mark.parametrize("model", [binary, multiclass], ids=["binary", "multiclass"])
def test_comes_near_the_least_distance(model):
    """The known optimum in l2; the domain is 12 or 100 wide, so that steps in widths are small."""
    known = no_nearer(model(), 0.05)
    width = known.model.domain.high - known.model.domain.low
    attack = zoo(6000, width=6, binary_steps=3, rate=0.05 / width, initial_const=1.0 / width**2)
    ledger = attacked(known, attack, "l2", math.inf, press_on=True)
    assert ledger.firm.all()
    ratio = ledger.distance / known.distance["l2"]
    assert (ratio >= 1 - 1e-4).all()
    assert ratio.median() < 1.05
