from __future__ import annotations

import torch

from robustly.attacks.nes import cooled, nes
from robustly.goals import Goal
from robustly.oracle import Answer, Oracle
from robustly.steps import Case
from robustly.threats import L2, Linf

from .small import small


def case_of(problem, threat):
    around, goal = threat.at(problem.x, problem.model.domain), Goal(problem.y)
    return Case(around, goal, torch.zeros(len(problem.x), 2, dtype=torch.int64), Oracle(problem.model, around, goal))


def test_a_step_is_a_share_of_eps_along_the_mean_and_halved_where_the_loss_fell():
    problem = small()
    case = case_of(problem, L2(0.5))
    step = cooled(0.2)
    state = step.init(case, torch.full_like(problem.x, 0.5))
    state = step.init(case, problem.x)
    grad = torch.randn(problem.x.shape, generator=torch.Generator().manual_seed(0))
    falls = torch.arange(24) % 2 == 0
    for index in range(5):
        value = torch.where(falls, -float(index), float(index))
        before = state.z
        state = step.update(case, state, Answer(value, grad, torch.zeros(0)), index)
        assert (state.size == torch.where(falls & (index == 4), 0.5, 1.0)).all()
    far = (state.z - before).flatten(1).norm(dim=1)
    assert (far <= 0.1 + 1e-5).all()
    assert torch.isinf(state.values[falls]).all()  # it looks back on five new ones
    assert torch.isfinite(state.values[~falls]).all()


def test_the_mean_forgets_slowly():
    problem = small()
    case = case_of(problem, Linf(0.1))
    step = cooled(0.2)
    state = step.init(case, problem.x)
    up, value = torch.ones_like(problem.x), torch.zeros(24)
    for index, grad in enumerate((up, up, -up, -up)):
        state = step.update(case, state, Answer(value, grad, torch.zeros(0)), index)
    assert (state.mean < 0).all()
    assert torch.allclose(state.mean, torch.full_like(up, -0.1 - 0.09 + 0.081 + 0.0729))


def test_points_asked_are_pairs_around_the_walk():
    problem = small()
    problem.run(nes(9, samples=8), Linf(0.3), press_on=True)
    pairs, last = problem.asked
    pairs = pairs.unflatten(0, (4, 2, 24))
    inside = ((pairs > 0) & (pairs < 1)).all(0).all(0)
    middle = pairs.mean(1)
    assert torch.allclose(middle[:, inside], problem.x.expand_as(middle)[:, inside], atol=1e-6)
    assert 0.0009 < (pairs - problem.x)[:, :, inside].std() < 0.0011
    assert (last - problem.x).abs().flatten(1).amax(1).sub(0.06).abs().max() < 1e-4
