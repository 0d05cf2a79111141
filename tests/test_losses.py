"""Losses: by hand, with few classes, and pointing where the margin falls."""

import pytest
import torch

from robustly import losses
from robustly.core.specs import entries
from robustly.goals import Goal

Z = torch.tensor([[4.0, 1.0, 3.0, 0.0], [0.0, 2.0, 1.0, -1.0]])
GOAL = Goal(torch.tensor([0, 2]))


def test_by_hand():
    assert losses.margin(Z, GOAL).tolist() == [-1.0, 1.0]
    assert torch.allclose(losses.dlr(Z, GOAL), torch.tensor([-1 / 3, 1 / 2]))
    toward = GOAL.toward(torch.tensor([1, 0]))
    assert torch.allclose(losses.dlr(Z, toward), torch.tensor([-3 / (4 - 0.5), -1 / (2 - (0 - 1) / 2)]))
    p = torch.softmax(Z, 1)
    assert torch.allclose(losses.probability_margin(Z, GOAL), torch.stack((p[0, 2] - p[0, 0], p[1, 1] - p[1, 2])))
    assert torch.allclose(losses.cross_entropy(Z, GOAL), -torch.log_softmax(Z, 1)[[0, 1], [0, 2]])


@pytest.mark.parametrize("entry", entries("loss"), ids=lambda e: e.name)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_any_number_of_classes_and_no_mixing_of_rows(entry, classes):
    loss = entry.make()
    z = torch.randn(5, classes, generator=torch.Generator().manual_seed(0)).requires_grad_()
    goal = Goal(torch.arange(5) % classes)
    for g in (goal, goal.toward((goal.y + 1) % classes)):
        value = loss(z, g)
        assert torch.isfinite(value).all()
        (grad,) = torch.autograd.grad(value[2], z)
        assert torch.isfinite(grad).all()
        assert torch.equal(grad[[0, 1, 3, 4]], torch.zeros(4, classes))


@pytest.mark.parametrize("name", ["cross_entropy", "margin", "probability_margin"])
def test_a_step_along_the_gradient_lowers_the_margin(name):
    loss = getattr(losses, name)
    z = torch.randn(50, 5, generator=torch.Generator().manual_seed(1)).requires_grad_()
    goal = Goal(torch.zeros(50, dtype=torch.int64))
    (grad,) = torch.autograd.grad(loss(z, goal).sum(), z)
    assert (goal.margin(z + 1e-2 * grad) < goal.margin(z)).all()


def test_dlr_does_not_care_about_scale_or_shift():
    assert torch.allclose(losses.dlr(1000 * Z + 5, GOAL), losses.dlr(Z, GOAL), atol=1e-4)
