from __future__ import annotations

import pytest
import torch

from robustly.attacks.sparsefool import sparsefool
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.threats import L0, Linf

from .small import small

INF = float("inf")


def test_it_finds_few_coordinates_in_few_passes():
    problem = small((1, 8, 8))
    ledger = problem.run(sparsefool(), L0(INF), press_on=True)
    assert ledger.firm.all()
    assert ledger.distance.mean() < 12
    assert ledger.forward.double().mean() < 40


def test_asked_points_of_a_search_change_the_steepest_coordinates_fully():
    """On a linear model one step is enough: the coordinates of largest weight, at their bounds but for the last one."""
    w = torch.tensor([1.0, -5.0, 3.0, 0.5])
    from robustly.core import keys
    from robustly.oracle import Model, Oracle
    from robustly.steps import Case
    from robustly.threats import Domain

    model = Model(lambda z: torch.stack((torch.zeros(len(z)), z @ w - 1.0), 1), Domain(0.0, 1.0), classes=2)
    x = torch.full((1, 4), 0.4)
    around, goal = L0(INF).at(x, model.domain), Goal(torch.zeros(1, dtype=torch.int64))
    oracle = Oracle(model, around, goal, press_on=True)
    sparsefool(beyond=1.0, tries=0)(Case(around, goal, keys.from_ids(0, ["a"]), oracle))
    point = oracle.ledger.point[0]  # 0.4 w - 1 = -1.2, of which the second alone gives 2
    assert oracle.ledger.distance.tolist() == [1.0]
    assert point[1] < 0.4 - 1.2 / 5
    assert torch.equal(point[[0, 2, 3]], x[0, [0, 2, 3]])


def test_going_beyond_the_border_takes_fewer_searches():
    problem = small((1, 8, 8))
    near, far = (problem.run(sparsefool(beyond=b, tries=0), L0(INF), press_on=True) for b in (1.0, 3.0))
    assert far.forward.sum() <= near.forward.sum()
    assert near.distance.mean() <= far.distance.mean()


def test_the_bisection_takes_back_what_was_not_needed():
    problem = small((1, 8, 8))
    whole, cut = (problem.run(sparsefool(tries=n), L0(INF), press_on=True) for n in (0, 8))
    assert (cut.distance <= whole.distance).all()
    assert (cut.distance < whole.distance).any()


def test_goals_with_a_target():
    problem = small((1, 8, 8))
    target = (problem.y + 1) % 4
    ledger = problem.run(sparsefool(), L0(INF), Goal(problem.y, target), press_on=True)
    assert ledger.firm.sum() > 12
    assert torch.equal(problem.model.ask(ledger.point).argmax(1)[ledger.firm], target[ledger.firm])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"steps": 0}, "steps"), ({"inner_steps": 0}, "inner_steps"), ({"targets": 0}, "targets"), ({"tries": -1}, "tries"),
     ({"beyond": 0.5}, "beyond"), ({"overshoot": -1.0}, "overshoot")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(arguments, words):
    with pytest.raises(UsageError, match=words):
        sparsefool(**arguments)


def test_other_sets_are_refused():
    with pytest.raises(UsageError, match="l0"):
        small().run(sparsefool(3), Linf(0.1))
