"""The flow box holds every image that a flow makes, is no wider than single pixels can go, and is a box."""

import pytest
import torch
import torch.nn.functional as F

from robustly.core.errors import UsageError
from robustly.threats import Domain, Flow

UNIT = Domain(0.0, 1.0)


def images(height=7, width=9, count=4):
    return torch.rand(count, 2, height, width, generator=torch.Generator().manual_seed(0))


def warped(x, flow):
    """x read at each pixel plus the flow (B, H, W, 2), (right, down) in pixels, by torch's own sampler."""
    height, width = x.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack((columns, rows), -1) + flow
    return F.grid_sample(
        x,
        place / torch.tensor([width - 1, height - 1]) * 2 - 1,
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )


@pytest.mark.parametrize("eps", [0.3, 1.0, 1.6, 3.0])
def test_every_flow_lands_inside_and_the_best_reach_the_faces(eps):
    x = images().double()
    around = Flow(eps).at(x.float(), UNIT)
    g = torch.Generator().manual_seed(1)
    low = high = around.x.double()
    for attempt in range(400):
        flow = 2 * torch.rand(4, 7, 9, 2, generator=g).double() - 1
        if attempt % 2:  # flows at the corners and at whole pixels are the extreme ones
            flow = torch.where(flow.abs() > 0.5, flow.sign(), (flow * eps).round() / eps).clamp(-1, 1)
        z = warped(around.x.double(), eps * flow)
        assert around.contains(z).all()
        low, high = torch.minimum(low, z), torch.maximum(high, z)
    inside = around.x[:, :, 2:5, 3:6]
    assert (around.high[:, :, 2:5, 3:6] - high[:, :, 2:5, 3:6]).abs().median() < 0.02
    assert (low[:, :, 2:5, 3:6] - around.low[:, :, 2:5, 3:6]).abs().median() < 0.02
    assert (around.high[:, :, 2:5, 3:6] > inside).any()


def test_a_whole_pixel_is_the_window_of_three():
    x = images()
    around = Flow(1).at(x, UNIT)
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    assert torch.equal(around.high, F.max_pool2d(padded, 3, 1))
    assert torch.equal(around.low, -F.max_pool2d(-padded, 3, 1))


def test_beyond_a_face_is_outside():
    x = images()
    around = Flow(1).at(x, UNIT)
    assert around.contains(around.high).all()
    assert around.contains(around.low).all()
    for face, way in ((around.high, 1e-5), (around.low, -1e-5)):
        z = face.clone()
        z[:, 1, 3, 4] += way
        assert not around.contains(z).any()


def test_distance_is_the_flow_that_it_takes():
    x = torch.linspace(0, 1, 9).expand(1, 1, 5, 9)
    around = Flow(2).at(x, UNIT)
    for flow in (0.0, 0.125, 0.5, 1.0, 1.75, 2.0):
        z = torch.lerp(x, x + flow / 8, 1.0).clamp(0, 1)
        assert abs(float(around.distance(z)) - flow) <= 0.126
        assert float(around.distance(z)) >= flow - 1e-5
    assert float(around.distance((x + 0.3).clamp(0, 1))) == float("inf")


def test_flat_images_cannot_move():
    around = Flow(3).at(torch.full((1, 1, 5, 5), 0.5), UNIT)
    assert torch.equal(around.low, around.high)
    assert not around.steepest(torch.ones(1, 1, 5, 5)).any()


def test_a_step_of_the_radius_crosses_the_box():
    around = Flow(1.5).at(images(), UNIT)
    step = around.project(around.x + 1.5 * around.steepest(torch.ones_like(around.x)))
    assert torch.allclose(step, around.high, atol=1e-6)


def test_refused():
    for eps in (-1, 17, float("nan"), "a"):
        with pytest.raises(UsageError, match="flow"):
            Flow(eps)
    with pytest.raises(UsageError, match="shape"):
        Flow(1).at(torch.zeros(2, 5), UNIT)
