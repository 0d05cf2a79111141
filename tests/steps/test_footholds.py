"""Where walks on labels begin: what is known first, then other examples, then noise; counted, and never for ever."""

import math

import pytest
import torch

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle import Access, Limits, Model, Oracle
from robustly.steps import Case
from robustly.steps.border_normal import bell, border_normal
from robustly.steps.footholds import clipped, foothold, straight, to_border
from robustly.steps.spending import left, purse
from robustly.steps.widths import room
from robustly.threats import L2, Domain


def case_of(call, x, mask=None, limits=None, ids=None):
    around = L2(math.inf, mask).at(x, Domain(0, 1))
    goal = Goal(torch.zeros(len(x), dtype=torch.int64))
    model = Model(call, Domain(0, 1), classes=2).granting(Access.LABELS)
    oracle = Oracle(model, around, goal, press_on=True, limits=limits or Limits())
    ids = ids or [str(i) for i in range(len(x))]
    case = Case(around, goal, keys.from_ids(0, ids), oracle)
    return case, room(case, "a test")


def above(level, place=0):
    return lambda z: torch.stack((torch.zeros(len(z)), z[:, place] - level), 1)


def test_noise_is_asked_until_it_meets_the_goal_and_no_further():
    case, space = case_of(above(0.8), torch.zeros(12, 3))
    z, found = foothold(case, space, 60)
    assert found.all()
    assert (z[:, 0] > 0.8).all()
    spent = case.oracle.ledger.forward
    assert len(spent.unique()) > 2
    foothold(case, space, 60)
    assert torch.equal(spent, case.oracle.ledger.forward)  # what the ledger knows costs nothing


def test_what_is_never_met_ends_and_leaves_the_input():
    case, space = case_of(above(2.0), torch.rand(5, 3))
    z, found = foothold(case, space, 7)
    assert not found.any()
    assert torch.equal(z, space.x)
    assert (case.oracle.ledger.forward == 7).all()
    case, space = case_of(above(2.0), torch.rand(5, 3), limits=Limits(3))
    foothold(case, space, 7)
    assert (case.oracle.ledger.forward == 3).all()


def test_the_pool_comes_first_in_an_order_of_each_row():
    asked = []

    def call(z):
        asked.append(z.clone())
        return above(2.0)(z)

    pool = torch.arange(6.0)[:, None].expand(6, 3) / 10
    case, space = case_of(call, torch.rand(8, 3))
    foothold(case, space, 8, pool)
    points = torch.stack(asked)
    orders = (points[:6, :, 0] * 10).round().T
    assert (orders.sort(1).values == torch.arange(6.0)).all()
    assert len({tuple(row.tolist()) for row in orders}) > 4
    assert not torch.isin(points[6:, :, 0], pool[:, 0]).any()
    case, space = case_of(above(0.35), torch.zeros(8, 3))
    z, found = foothold(case, space, 8, pool)
    assert found.all()
    assert torch.isin(z, pool).all()


def test_rows_draw_the_same_alone():
    x = torch.zeros(4, 3)
    z, _ = foothold(*case_of(above(0.9), x), 50)
    alone, _ = foothold(*case_of(above(0.9), x[:1], ids=["2"]), 50)
    assert torch.equal(alone[0], z[2])


def test_a_mask_is_kept_and_a_pool_is_checked():
    mask = torch.tensor([True, False, True])
    case, space = case_of(above(0.8), torch.full((6, 3), 0.25), mask)
    z, found = foothold(case, space, 50, torch.full((1, 3), 0.7))
    assert found.all()
    assert (z[:, 1] == 0.25).all()
    for pool, what in ((torch.zeros(2, 4), "shape of one input"), (torch.full((2, 3), 1.5), "outside the range")):
        with pytest.raises(UsageError, match=what):
            foothold(case, space, 5, pool)
    with pytest.raises(UsageError, match="tries"):
        foothold(case, space, 0)


def test_bisection_reaches_the_border_within_its_tolerance_and_budget():
    x, far = torch.zeros(4, 3), torch.ones(4, 3)
    case, _ = case_of(above(0.3), x)
    z = to_border(case, x, far, torch.tensor([0.1, 0.01, 1e-3, 1e-6]), 12)
    assert (case.oracle.ledger.forward == torch.tensor([4, 7, 10, 12])).all()
    over = z[:, 0] - 0.3
    assert (over > 0).all()
    assert (over <= torch.tensor([0.1, 0.01, 1e-3, 2.0**-12])).all()
    case, _ = case_of(above(0.3), x)
    some = to_border(case, x, far, 1e-3, torch.tensor([0, 2, 5, 9]), where=torch.tensor([True, True, True, False]))
    assert (case.oracle.ledger.forward == torch.tensor([0, 2, 5, 0])).all()
    assert torch.equal(some[[0, 3]], far[[0, 3]])


def test_between_points():
    near, far = torch.zeros(2, 3), torch.tensor([[1.0, 0.5, -0.2], [0.3, 0.3, 0.3]])
    half = torch.tensor([0.5, 1.0])
    assert torch.allclose(straight(near, far, half), torch.tensor([[0.5, 0.25, -0.1], [0.3, 0.3, 0.3]]))
    assert torch.allclose(clipped(near, far, half), torch.tensor([[0.5, 0.5, -0.2], [0.3, 0.3, 0.3]]))
    assert torch.equal(straight(near, far, torch.ones(2)), far)


def test_a_purse_counts_whatever_was_asked():
    case, space = case_of(above(2.0), torch.rand(3, 3))
    case.oracle.labels(space.x)
    money = purse(case, 5)
    assert (left(case, money) == 5).all()
    case.oracle.hits(space.x[[0, 0, 2]], torch.tensor([0, 0, 2]))
    assert left(case, money).tolist() == [3, 5, 4]
    assert left(case.take(torch.tensor([2])), money[2:]).tolist() == [4]
    several = case._replace(oracle=case.oracle.asking(type(case.oracle.manner)(times=2)))
    assert left(several, purse(several, 5)).tolist() == [5, 5, 5]


def test_the_normal_of_a_plane_is_found_and_lies_within_the_mask():
    w = torch.linspace(-1, 1, 20)
    mask = torch.arange(20) < 15
    x = torch.full((3, 20), 0.5)

    def call(z):
        return torch.stack((torch.zeros(len(z)), (z - 0.5) @ w), 1)

    case, space = case_of(call, x, mask)
    normal = border_normal(case, space, x, torch.full((3,), 0.1), torch.tensor([20, 300, 2000]))
    assert torch.allclose(normal.norm(dim=1), torch.ones(3))
    assert (normal[:, 15:] == 0).all()
    true = torch.where(mask, w, 0)
    cosine = normal @ true / true.norm()
    assert cosine[2] > 0.97 > cosine[1] > 0.85 > cosine[0] > 0.3
    assert (case.oracle.ledger.forward == torch.tensor([20, 300, 2000])).all()


def test_noise_is_nearly_normal():
    noise = bell(keys.from_ids(0, ["a"]), (200, 500)).flatten()
    noise = noise / noise.std()
    assert abs(noise.mean()) < 0.02
    assert abs(noise.pow(4).mean() - 2.7) < 0.05  # of four uniform numbers; a normal one has 3
