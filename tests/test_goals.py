"""What counts as adversarial: a tie and a non-finite answer count against the model."""

import torch

from robustly.goals import Goal

SCORES = torch.tensor(
    [[3.0, 1.0, 2.0], [1.0, 1.0, 0.0], [0.0, 2.0, 5.0], [float("nan"), 0.0, 0.0], [1.0, float("-inf"), 0.0]]
)


def test_untargeted():
    goal = Goal(torch.tensor([0, 0, 1, 0, 0]))
    assert goal.margin(SCORES)[:3].tolist() == [1.0, 0.0, -3.0]
    assert goal.met(SCORES).tolist() == [False, True, True, True, True]


def test_targeted():
    goal = Goal(torch.tensor([0, 0, 1, 0, 0]), torch.tensor([2, 1, 2, 1, 2]))
    assert goal.margin(SCORES)[:3].tolist() == [1.0, 0.0, -3.0]
    assert goal.met(SCORES).tolist() == [False, True, True, True, True]
    assert goal.met_by_labels(torch.tensor([2, 0, 1, 1, 2])).tolist() == [True, False, False, True, True]


def test_rows_can_be_taken():
    goal = Goal(torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0]))
    part = goal.take(torch.tensor([2, 0]))
    assert part.y.tolist() == [2, 0]
    assert part.target.tolist() == [0, 1]
    assert goal.toward(torch.tensor([2, 2, 1])).target.tolist() == [2, 2, 1]
