"""What is APGD's own: its checkpoints, its step size, its start."""

from __future__ import annotations

import pytest
import torch

from robustly.attacks.apgd import adaptive, apgd, checkpoints
from robustly.attacks.pgd import pgd
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle import Answer, Model, Oracle
from robustly.steps import Case, clean
from robustly.steps.starts import surface
from robustly.threats import L2, Domain, Linf

from .small import small


def case_of(model, x, threat):
    around, goal = threat.at(x, model.domain), Goal(torch.zeros(len(x), dtype=torch.int64))
    return Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(x))]), Oracle(model, around, goal))


def test_checkpoints_of_the_paper():
    """p = 0, .22, .41, .57, .70, .80, .87, .93, .99 of 100 steps."""
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(checkpoints(100).values()) == [22, 19, 16, 13, 10, 7, 6, 6]


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_few_steps(steps):
    ledger = small().run(apgd(steps), Linf(1e-4))
    assert ledger.forward.max() == steps + 1
    assert ledger.backward.max() == steps


@pytest.mark.parametrize("rho", [0.0, -1.0, 1.5, float("nan")])
def test_rho_is_a_share(rho):
    with pytest.raises(UsageError, match="rho"):
        apgd(rho=rho)


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)], ids=str)
def test_it_starts_eps_away(threat):
    problem = small()
    x = problem.x * 0 + 0.5
    case = case_of(problem.model, x, threat)
    distance = case.around.distance(surface(case))
    assert torch.allclose(distance, torch.full_like(distance, threat.eps), rtol=1e-4)


def scripted(values: list[list[float]], grad: float = 1.0, steps: int = 100):
    """The states of a walk whose losses are given, one list an example, as asked in turn; the gradient is constant."""
    model = Model(lambda z: z.flatten(1), Domain(-10.0, 10.0))
    case = case_of(model, torch.zeros(len(values), 3), Linf(1.0))
    step = adaptive(checkpoints(steps), 0.75)
    state, states = step.init(case, case.around.x), []
    for index, value in enumerate(zip(*values, strict=True)):
        state = step.update(case, state, Answer(torch.tensor(value), torch.full((len(values), 3), grad), None), index)
        states.append(state)
    return states


def test_the_step_is_halved_where_the_loss_rose_too_seldom():
    """22 moves to the first checkpoint: 16 rises are 16 <= 0.75 * 22 and too few, 17 are enough."""
    sixteen = [float(i) for i in range(17)] + [16.0] * 6
    seventeen = [float(i) for i in range(18)] + [17.0] * 5
    states = scripted([sixteen, seventeen])
    assert states[21].size.tolist() == [2.0, 2.0]
    assert states[22].size.tolist() == [1.0, 2.0]
    assert states[22].cut.tolist() == [True, False]


def test_the_step_is_halved_where_nothing_was_gained():
    """Enough rises, but from a fall, so that the best loss stays; the step was not halved the last time."""
    first = [float(i) for i in range(23)]
    second = [-100.0 + i for i in range(19)]
    states = scripted([first + second, first + second])
    assert states[40].size.tolist() == [2.0, 2.0]
    assert states[41].size.tolist() == [1.0, 1.0]
    assert (states[41].cut).all()


def test_it_goes_on_from_the_best_point():
    """The best loss was at the start, where the walk is put back: then a step of size 1 with 1/4 of the last move."""
    losses = [5.0] + [-float(i) for i in range(22)]
    states = scripted([losses])
    before, now = states[21], states[22]
    assert torch.equal(now.before, before.best)
    assert torch.equal(now.best, torch.zeros(1, 3))
    inertia = 0.25 * (now.before - before.before)
    assert torch.allclose(now.z, 0.75 * torch.ones(1, 3) + inertia)


def test_momentum():
    """Moves along a constant gradient: the first is whole, the next 3/4 of a step and 1/4 of the last move."""
    model = Model(lambda z: z.flatten(1), Domain(-1e3, 1e3))
    case = case_of(model, torch.zeros(1, 2), L2(1.0))
    step = adaptive({}, 0.75)
    state = step.init(case, case.around.x)
    state = step.update(case, state, Answer(torch.ones(1), torch.tensor([[3.0, 4.0]]), None), 0)
    assert torch.allclose(state.z, torch.tensor([[0.6, 0.8]]), atol=1e-4)
    state = step.update(case, state, Answer(torch.ones(1), torch.tensor([[-3.0, -4.0]]), None), 1)
    # ahead: (0.6, 0.8) - 2 (0.6, 0.8) = -(0.6, 0.8); mixed: 1/4 (0.6, 0.8) - 3/4 (0.6, 0.8) + 1/4 (0.6, 0.8)
    assert torch.allclose(state.z, torch.tensor([[-0.15, -0.2]]), atol=1e-4)


def test_it_climbs_where_steps_of_one_size_do_not():
    """Minimise |z - c|_1 in a box whose eps is far larger than the distance: a fixed step of eps / 10 hops over c."""
    g = torch.Generator().manual_seed(0)
    centre = torch.rand(12, 8, generator=g)

    def call(z):
        distance = (z[:, None, :] - centre).abs().sum(2).amin(1)
        return torch.stack((torch.zeros(len(z)), 0.02 - distance), 1)

    model, x = Model(call, Domain(-8.0, 8.0)), torch.full((10, 8), 0.5)
    found = {}
    for name, attack in (("pgd", pgd(100, start=clean)), ("apgd", apgd(200, start=clean))):
        case = case_of(model, x, Linf(4.0))
        attack(case)
        found[name] = case.oracle.ledger.best_margin.mean()
    assert found["apgd"] < 0.1 * found["pgd"]
