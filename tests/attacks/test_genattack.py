from __future__ import annotations

import pytest
import torch

from robustly.attacks.genattack import People, _bred, _judged, fitness, genattack
from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Oracle
from robustly.steps import Case
from robustly.threats import Linf

from .small import small


def case_of(problem, eps=0.1):
    around, goal = Linf(eps).at(problem.x, problem.model.domain), Goal(problem.y)
    oracle = Oracle(problem.model, around, goal, press_on=True)
    return Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(problem.x))]), oracle)


def people(rows, fit, shape=(1, 6, 6)):
    genes = 2 * torch.rand(rows, len(fit), *shape, generator=torch.Generator().manual_seed(0)) - 1
    none = torch.zeros(rows)
    values = torch.tensor(fit).expand(rows, -1)
    return People(genes, values, values.amax(1), torch.zeros(rows, dtype=torch.int64), none)


def test_fitness_is_the_log_odds_of_the_goal():
    p = torch.tensor([[0.7, 0.2, 0.1]])
    y, target = torch.tensor([0]), torch.tensor([2])
    assert fitness(p.log(), Goal(y)).item() == pytest.approx(torch.tensor(0.3 / 0.7).log().item(), rel=1e-5)
    assert fitness(p.log() + 5, Goal(y, target)).item() == pytest.approx(torch.tensor(0.1 / 0.9).log().item(), rel=1e-5)


def test_the_fittest_stays_and_children_are_of_fit_parents():
    problem = small()
    state = people(24, [-9.0, -0.1, -9.0, -9.0])
    after = _bred(case_of(problem), state, 1, 0.1, 0.15)
    assert torch.equal(after.genes[:, 0], state.genes[:, 1])
    assert (after.fitness[:, 0] == state.fitness[:, 1]).all()
    kept = (after.genes[:, 1:] == state.genes[:, 1:2]).double().mean()
    assert 0.4 < kept < 0.6  # half of the coordinates mutate at first
    far = (after.genes[:, 1:] - state.genes[:, 1:2]).abs()
    assert far.max() <= 0.4 + 1e-6
    assert far.max() > 0.35


def test_mutation_falls_at_plateaus_down_to_its_least():
    problem = small()
    state = people(24, [-9.0, -0.1, -9.0, -9.0])._replace(plateaus=torch.full((24,), 100.0))
    after = _bred(case_of(problem), state, 1, 0.1, 0.15)
    far = (after.genes[:, 1:] - state.genes[:, 1:2]).abs()
    assert far.max() <= 0.15 + 1e-6
    assert 0.05 < (far > 0).double().mean() < 0.15


def test_a_hundred_generations_without_a_better_one_are_a_plateau():
    problem = small()
    case = case_of(problem, 0.0)
    state = people(24, [50.0, -1.0])._replace(still=torch.full((24,), 99))
    after = _judged(case, state, 1, 1)
    assert (after.plateaus == 1).all()
    assert (after.still == 0).all()


def test_a_generation_costs_one_less_than_its_population():
    problem = small()
    problem.run(genattack(16, population=6), Linf(1e-4))
    assert [len(z) // 24 for z in problem.asked] == [6, 5, 5]


def test_the_best_never_gets_worse_and_tiles_are_flat():
    problem = small()
    ledger = problem.run(genattack(60, side=2), Linf(0.05))
    z = problem.asked[0]
    change = (z - problem.x.repeat(6, 1, 1, 1))[:, 0, :3, :3].flatten(1)
    inside = ((z > 0) & (z < 1))[:, 0, :3, :3].flatten(1).all(1)
    assert torch.allclose(change[inside], change[inside][:, :1].expand(-1, 9), atol=1e-6)
    assert (ledger.best_margin < Goal(problem.y).margin(problem.model.ask(problem.x)) + 1e-6).all()
