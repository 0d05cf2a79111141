from __future__ import annotations

import pytest
import torch

from robustly.attacks.jsma import jsma, pair
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.threats import L0, L2, Domain

from .small import small

INF = float("inf")


def test_the_pair_is_the_best_of_all_pairs():
    """Against a search through every pair of moves, on random gradients: nearly always the same saliency."""
    g = torch.Generator().manual_seed(0)
    x = torch.full((60, 10), 0.5)
    z = torch.where(torch.rand(60, 10, generator=g) < 0.2, 1.0, 0.5)  # some can only go down
    around = L0(INF).at(x, Domain(0.0, 1.0))
    rising, falling = torch.randn(60, 10, generator=g), torch.randn(60, 10, generator=g)
    place, way = pair(around, z, rising, falling)
    same = 0
    for row in range(60):
        best = 0.0
        moves = [(i, s) for i in range(10) for s in (1, -1) if not (s == 1 and z[row, i] == 1)]
        for i, s in moves:
            for j, t in moves:
                up = s * rising[row, i] + t * rising[row, j]
                down = -(s * falling[row, i] + t * falling[row, j])
                if i < j and up > 0 and down > 0:
                    best = max(best, float(up * down))
        up, down = (way[row] * rising[row, place[row]]).sum(), -(way[row] * falling[row, place[row]]).sum()
        assert float(up * down) <= best * 1.0001
        same += float(up * down) >= best * 0.9999
    assert same >= 57


def test_no_pair_where_nothing_helps():
    """Raising the target raises the others as much, whatever moves."""
    around = L0(INF).at(torch.full((1, 4), 0.5), Domain(0.0, 1.0))
    rising = torch.tensor([[1.0, -2.0, 3.0, 0.5]])
    assert pair(around, around.x, rising, rising)[1].tolist() == [[0.0, 0.0]]


def test_two_coordinates_a_step():
    problem = small((1, 8, 8))
    problem.run(jsma(5, tries=0), L0(INF), press_on=True)
    full = [z for z in problem.asked if len(z) == len(problem.x)]
    counts = [(z != problem.x).flatten(1).sum(1) for z in full]
    assert counts[0].unique().tolist() == [0]
    assert max(int(c.max()) for c in counts) <= 10
    moved = [z[z != problem.x] for z in full]
    assert all(((m == 0) | (m == 1)).all() for m in moved)  # theta = 1: to a bound


def test_it_finds_few_and_more_targets_find_fewer():
    problem = small((1, 8, 8))
    one, three = (problem.run(jsma(targets=n), L0(INF), press_on=True) for n in (1, 3))
    assert one.firm.double().mean() > 0.9
    assert one.distance[one.firm].mean() < 10
    assert (three.distance <= one.distance).all()
    assert three.distance.mean() < one.distance.mean()


def test_the_bisection_takes_back_what_was_not_needed():
    problem = small((1, 8, 8))
    whole, cut = (problem.run(jsma(tries=n), L0(INF), press_on=True) for n in (0, 8))
    assert (cut.distance <= whole.distance).all()
    assert (cut.distance < whole.distance).any()


def test_goals_with_a_target():
    problem = small((1, 8, 8))
    target = (problem.y + 1) % 4
    ledger = problem.run(jsma(), L0(INF), Goal(problem.y, target), press_on=True)
    assert ledger.firm.sum() > 12
    assert torch.equal(problem.model.ask(ledger.point).argmax(1)[ledger.firm], target[ledger.firm])


def test_theta_is_the_size_of_a_change():
    problem = small()
    problem.run(jsma(1, theta=0.1, tries=0), L0(INF), press_on=True)
    change = (problem.asked[-1] - problem.x[: len(problem.asked[-1])]).abs()
    assert change.max() <= 0.1 + 1e-6
    assert change.max() > 0.09


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"steps": 0}, "steps"), ({"targets": 0}, "targets"), ({"tries": -1}, "tries"), ({"theta": 0.0}, "theta")],
)
def test_settings_that_make_no_sense_are_refused(arguments, words):
    with pytest.raises(UsageError, match=words):
        jsma(**arguments)


def test_other_sets_are_refused():
    with pytest.raises(UsageError, match="l0"):
        small().run(jsma(3), L2(0.1))
