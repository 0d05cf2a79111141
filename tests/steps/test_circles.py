"""Points of a circle through the input are nearer than its far end, and at the angle they say."""

import math

import torch

from robustly.core import keys
from robustly.steps.border_normal import bell
from robustly.steps.circles import across, aside, on_circle

G = torch.Generator().manual_seed(0)
CHANGE, TOWARD = torch.randn(6, 2, 5, generator=G), torch.randn(6, 2, 5, generator=G)


def test_a_point_has_the_length_and_the_angle_it_says():
    side, angle = aside(CHANGE, TOWARD), torch.linspace(0, 1.5, 6)
    point, far = on_circle(CHANGE, side, angle), CHANGE.flatten(1).norm(dim=1)
    length = point.flatten(1).norm(dim=1)
    assert torch.allclose(length, far * angle.cos(), atol=1e-5)
    between = (point * CHANGE).flatten(1).sum(1) / (length * far)
    assert torch.allclose(between, angle.cos(), atol=1e-4)
    assert torch.allclose((CHANGE - point).flatten(1).mul(point.flatten(1)).sum(1), torch.zeros(6), atol=1e-4)  # Thales


def test_the_side_is_at_right_angles_and_zero_where_there_is_none():
    side = aside(CHANGE, TOWARD)
    assert (side * CHANGE).flatten(1).sum(1).abs().max() < 1e-5
    assert torch.allclose(side.flatten(1).norm(dim=1), torch.ones(6))
    assert aside(CHANGE, torch.zeros_like(CHANGE)).abs().max() == 0


def test_the_circle_of_a_plane_border_has_its_nearest_point():
    normal = torch.tensor([[0.6, 0.8]])
    change = torch.tensor([[1 / 0.6, 0.0]])  # on the border <normal, d> = 1, whose nearest point is the normal itself
    point = on_circle(change, aside(change, normal), torch.tensor([math.acos(0.6)]))
    assert torch.allclose(point, normal, atol=1e-6)


def test_noise_across_a_direction_has_none_of_it():
    along = CHANGE / CHANGE.flatten(1).norm(dim=1).view(-1, 1, 1)
    noise = across(bell, along)(keys.from_ids(0, list("abcdef")), (4, 2, 5))
    assert (noise * along[:, None]).flatten(2).sum(2).abs().max() < 1e-2 * noise.abs().max()
    assert noise.flatten(2).norm(dim=2).min() > 0
