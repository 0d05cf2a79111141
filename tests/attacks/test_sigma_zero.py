"""What is sigma-zero's own: its smooth count, its threshold, its end."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from robustly.attacks.sigma_zero import LEAST_RATE, Sparse, descended, kept, sigma_zero
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle import Answer, Model, Oracle
from robustly.steps import Case
from robustly.steps.moments import no_moments
from robustly.steps.widths import room
from robustly.threats import L0, L1, Domain

from .small import small

INF = float("inf")


def case_of(x):
    model = Model(lambda z: z, Domain(0.0, 1.0))
    around, goal = L0(INF).at(x, model.domain), Goal(torch.zeros(len(x), dtype=torch.int64))
    return Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(x))]), Oracle(model, around, goal))


def state_of(change, threshold=0.3):
    none = torch.zeros_like(change)
    rows = torch.zeros(len(change))
    return Sparse(change, no_moments(none), rows + threshold, none, rows + torch.inf, none)


def test_the_first_step_is_of_the_whole_rate_and_small_changes_are_undone():
    """Adam's first step has the size of the rate; what stays below the threshold is undone. The loss is unmet: it pulls."""
    x = torch.full((1, 3), 0.5)
    where = room(case_of(x), "sigma_zero")
    answer = Answer(torch.zeros(1), torch.tensor([[2.0, -1.0, 0.0]]), torch.zeros(1, 2))
    unmet = torch.tensor([False])
    assert torch.allclose(
        descended(where, state_of(torch.zeros(1, 3)), answer, unmet, 1e-3, 0.4, 1).change,
        torch.tensor([[0.4, -0.4, 0]]),
    )
    after = descended(where, state_of(torch.zeros(1, 3), 0.41), answer, unmet, 1e-3, 0.4, 1)
    assert torch.equal(after.change, torch.zeros(1, 3))


def test_where_the_goal_is_met_only_the_count_is_descended():
    x = torch.full((1, 3), 0.5)
    where = room(case_of(x), "sigma_zero")
    answer = Answer(torch.zeros(1), torch.tensor([[100.0, 100.0, 100.0]]), torch.zeros(1, 2))
    after = descended(
        where, state_of(torch.tensor([[0.4, -0.4, 0.0]]), 0.0), answer, torch.tensor([True]), 1e-3, 0.1, 1
    )
    assert torch.allclose(after.change, torch.tensor([[0.3, -0.3, 0.0]]), atol=1e-5)


def test_the_threshold_follows_the_border():
    """Where the goal is always met it rises to its most; where never, it falls to 0: seen in how many changes stay."""
    seen = []

    def call(z):
        seen.append((z != 0.5).sum(1))
        return torch.stack((torch.full((len(z),), 1.0), z.sum(1) * 0 + z.sum(1) / 1e6), 1)

    model = Model(call, Domain(0.0, 1.0), classes=2)
    x = torch.full((1, 40), 0.5)
    around, goal = L0(INF).at(x, model.domain), Goal(torch.zeros(1, dtype=torch.int64))
    oracle = Oracle(model, around, goal, press_on=True)
    case = Case(around, goal, keys.from_ids(0, ["a"]), oracle)
    sigma_zero(30, rate=0.1, threshold=0.35, gain=0.0)(case)
    kept_high = seen[-1].item()
    sigma_zero(30, rate=0.1, threshold=0.35, gain=1.0)(case)
    assert kept_high == 0  # every step of 0.1 is undone
    assert seen[-1].item() == 40  # the threshold has come down to let them stand


def test_the_best_point_is_the_one_of_fewest_changes():
    case = case_of(torch.full((2, 3), 0.5))
    state = state_of(torch.zeros(2, 3))
    answer = Answer(torch.zeros(2), torch.ones(2, 3), torch.zeros(2, 2))
    z = torch.tensor([[0.5, 0.9, 0.1], [0.5, 0.9, 0.1]])
    state = kept(case, state, z, answer, torch.tensor([True, False]))
    assert state.fewest.tolist() == [2.0, torch.inf]
    fewer = torch.tensor([[0.5, 0.9, 0.5], [0.5, 0.9, 0.5]])
    state = kept(case, state, fewer, answer, torch.tensor([True, True]))
    assert state.fewest.tolist() == [1.0, 1.0]
    more = torch.tensor([[0.6, 0.9, 0.6], [0.6, 0.9, 0.6]])
    assert torch.equal(kept(case, state, more, answer, torch.tensor([True, True])).best, fewer)


def test_more_steps_and_the_bisection_find_fewer():
    problem = small((1, 8, 8))
    runs = [sigma_zero(5, tries=0), sigma_zero(100, tries=0), sigma_zero(100)]
    few, many, cut = (problem.run(a, L0(INF), press_on=True) for a in runs)
    assert many.firm.all()
    assert many.distance.mean() < few.distance.mean()
    assert (cut.distance <= many.distance).all()
    assert (many.forward == 101).all()
    assert (many.backward == 100).all()
    assert (cut.forward <= 109).all()


def test_masked_numbers_stay():
    problem = small()
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[:, :, :3] = True
    ledger = problem.run(sigma_zero(60), L0(INF, mask), press_on=True)
    assert ledger.firm.any()
    assert torch.equal(ledger.point[..., 3:], problem.x[..., 3:])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"steps": 0}, "steps"), ({"tries": -1}, "tries"), ({"sigma": 0.0}, "sigma"), ({"rate": -1.0}, "rate"),
     ({"threshold": 2.0}, "threshold"), ({"gain": -0.1}, "gain")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(arguments, words):
    with pytest.raises(UsageError, match=words):
        sigma_zero(**arguments)


def test_other_sets_and_unbounded_domains_are_refused():
    with pytest.raises(UsageError, match="sigma_zero"):
        small().run(sigma_zero(3), L1(1.0))
    with pytest.raises(UsageError, match="bounded"):
        room(Case(L0(3).at(torch.zeros(1, 3)), Goal(torch.zeros(1)), torch.zeros(1, 2), None), "sigma_zero")


def test_the_rate_falls_along_half_a_cosine_from_the_first_step_on():
    """A steep line that is never met: Adam's steps are as long as the rate, so the points asked tell it."""
    asked = []

    def call(z):
        asked.append(float(z.detach()[0, 0]))
        return torch.stack((1e6 * (2 - z[:, 0]), torch.zeros(len(z))), 1)

    model, x = Model(call, Domain(0.0, 1.0)), torch.full((1, 1), 0.1)
    around, goal = L0(INF).at(x, model.domain), Goal(torch.zeros(1, dtype=torch.int64))
    oracle = Oracle(model, around, goal)
    sigma_zero(4, rate=0.02, threshold=0.0, gain=0.0)(Case(around, goal, keys.from_ids(0, ["0"]), oracle))
    steps = [b - a for a, b in pairwise(asked)]
    want = [0.02 * (LEAST_RATE + (1 - LEAST_RATE) * (1 + math.cos(math.pi * i / 4)) / 2) for i in range(4)]
    assert steps == pytest.approx(want, rel=1e-3)
