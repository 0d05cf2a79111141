"""What is APGD's own: its checkpoints, its step size, its start."""

from __future__ import annotations

import pytest
import torch

from robustly.attacks.apgd import adaptive, apgd, checkpoints
from robustly.attacks.pgd import pgd
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.losses import dlr
from robustly.oracle import Answer, Model, Oracle
from robustly.steps import Case, clean, per_target
from robustly.steps.sparse import Stage, answers, sparse, stages
from robustly.steps.starts import surface
from robustly.threats import L0, L1, L2, Domain, Linf

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


def test_three_balls_share_the_moves_as_in_autoattack():
    """30, 30 and 40 % of the moves; a ball that is left ends with one more answer."""
    assert stages(100, 3) == (Stage(0, 30, 3), Stage(31, 30, 2), Stage(62, 40, 1))
    assert stages(100, 1) == (Stage(0, 100, 1),)
    for steps in range(3, 30):
        moves = [stage.moves for stage in stages(steps, 3)]
        assert sum(moves) == steps
        assert min(moves) >= 1
        assert moves[0] == moves[1]
        assert stages(steps, 3)[-1].begin + moves[-1] == answers(steps, 3)


@pytest.mark.parametrize("wider", [1, 3])
def test_passes_in_l1(wider):
    ledger = small().run(apgd(9, wider=wider), L1(1e-4))
    assert ledger.forward.unique().tolist() == [9 + wider]
    assert ledger.backward.unique().tolist() == [8 + wider]


def test_it_walks_in_ever_smaller_balls():
    problem = small()
    problem.run(apgd(10, wider=3), L1(0.02))
    around = [L1(0.02 * m).at(problem.x, problem.model.domain) for m in (3, 2, 1)]
    radius = [3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 1]
    assert len(problem.asked) == len(radius)
    for z, m in zip(problem.asked, radius, strict=True):
        assert around[3 - m].contains(z).all()
        if m > 1:
            assert not around[4 - m].contains(z).any()


def sparse_states(values, grad, moves=100, start=None):
    """The states of a walk in l1 of radius 1 whose losses and gradient are given, one list an example."""
    model = Model(lambda z: z.flatten(1), Domain(-10.0, 10.0))
    x = torch.zeros(len(values), grad.shape[1])
    case = case_of(model, x, L1(1.0))
    step = sparse(moves, 1)
    state, states = step.init(case, x if start is None else start), []
    for index, value in enumerate(zip(*values, strict=True)):
        state = step.update(case, state, Answer(torch.tensor(value), grad, None), index)
        states.append(state)
    return states


def test_a_sparse_step_shares_eps_among_the_steepest():
    """20 % of 10 coordinates, eps apart in all: half of it each, along the sign."""
    grad = torch.tensor([[1.0, -9.0, 2.0, 3.0, -4.0, 5.0, 6.0, -7.0, 0.0, 0.5]])
    state = sparse_states([[0.0]], grad)[0]
    assert torch.allclose(state.z, torch.tensor([[0, -0.5, 0, 0, 0, 0, 0, -0.5, 0, 0]]), atol=1e-4)


def test_the_sparse_step_follows_the_best_point():
    """A look every 4 moves. The start changes 10 of 10; the best point then changes 2: it is gone back to, with the whole
    step and 2 / 1.5 of 10 coordinates. At the next look it is the same point: the step falls by 1.5."""
    start = torch.full((1, 10), 0.1)
    grad = torch.arange(1.0, 11.0)[None]
    states = sparse_states([[0.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]], grad, start=start)
    best = states[1].best
    changed = (best != 0).sum()
    assert changed < 9.5
    assert states[3].size.item() == 1
    assert states[3].share.item() == pytest.approx(0.2)
    assert states[4].size.item() == 1
    assert states[4].share.item() == pytest.approx(changed.item() / 15)
    assert states[8].size.item() == pytest.approx(1 / 1.5)


def test_the_start_in_l1_is_sparse_and_full():
    x = torch.full((20, 200), 0.5)
    model = Model(lambda z: z, Domain(0.0, 1.0))
    case = case_of(model, x, L1(3.0))
    z = surface(case)
    assert torch.allclose(case.around.distance(z), torch.full((20,), 3.0).double(), rtol=1e-4)
    assert ((z != x).sum(1) < 40).all()
    assert len(z.unique(dim=0)) == 20


def test_the_start_in_l0_changes_as_many_as_allowed():
    x = torch.full((6, 20), 0.5)
    case = case_of(Model(lambda z: z, Domain(0.0, 1.0)), x, L0(3))
    assert case.around.distance(surface(case)).tolist() == [3.0] * 6


def test_sparse_steps_find_what_one_coordinate_at_a_time_does_not():
    """A sum of kinks along 30 directions in l1: pgd moves one coordinate a step."""
    g = torch.Generator().manual_seed(0)
    w = torch.randn(30, 60, generator=g)

    def call(z):
        return torch.stack((torch.zeros(len(z)), (z @ w.T).abs().mean(1) - 3.0), 1)

    model, x = Model(call, Domain(-1.0, 1.0)), torch.randn(12, 60, generator=g).clamp(-0.3, 0.3)
    found = {}
    for name, attack in (("pgd", pgd(40)), ("apgd", apgd(40)), ("wide", apgd(40, wider=3))):
        case = case_of(model, x, L1(6.0))
        attack(case)
        found[name] = case.oracle.ledger.best_margin.mean()
    assert found["apgd"] < found["pgd"]
    assert found["wide"] < found["pgd"]


@pytest.mark.parametrize(("wider", "steps"), [(0, 10), (4, 3)])
def test_wider_is_a_count_of_balls(wider, steps):
    with pytest.raises(UsageError, match="wider"):
        apgd(steps, wider=wider)


def test_wider_balls_are_for_l1():
    with pytest.raises(UsageError, match="wider balls are for l1"):
        small().run(apgd(10, wider=3), Linf(0.1))


def test_an_infinite_eps_is_refused_in_l1():
    with pytest.raises(UsageError, match="finite eps"):
        small().run(apgd(10), L1(float("inf")))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("targeted", [False, True])
def test_few_classes_with_dlr(classes, targeted):
    """Two or three classes are no error, and the attack is not blind: it breaks most of what margin does."""
    g = torch.Generator().manual_seed(0)
    w = torch.randn(classes, 20, generator=g)
    model, x = Model(lambda z: z @ w.T, Domain(0.0, 1.0)), torch.rand(30, 20, generator=g)
    y = model.ask(x).argmax(1)
    around, goal = Linf(0.2).at(x, model.domain), Goal(y)
    oracle = Oracle(model, around, goal)
    inner = apgd(20, dlr)
    attack = per_target(inner) if targeted else inner
    attack(Case(around, goal, keys.from_ids(0, [str(i) for i in range(30)]), oracle))
    gap = model.ask(x).gather(1, y[:, None]) - model.ask(x)
    reach = torch.stack([0.2 * (w[c] - w).abs().sum(1) for c in y])
    could = ((gap < 0.6 * reach) & (gap > 0)).any(1)
    assert could.sum() > 5
    assert oracle.ledger.firm[could].all()
