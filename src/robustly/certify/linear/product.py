"""The product of two values between two pairs of planes (McCormick 1976, Mathematical Programming 10)."""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.certify.linear.rules import FINE, Box, Boxes, Planes, Rule


def _range(boxes: Boxes) -> Box:
    x, y = boxes
    corners = torch.stack((x.low * y.low, x.low * y.high, x.high * y.low, x.high * y.high))
    low, high = corners.amin(0), corners.amax(0)
    return Box(low - FINE * low.abs(), high + FINE * high.abs())


def _start(boxes: Boxes) -> Tensor:
    """Halfway between the two, which leaves the least in the worst corner."""
    return torch.full_like(boxes[0].low, 0.5)


def _planes(boxes: Boxes, choice: Tensor | None = None) -> Planes:
    """Below, c (y_l x + x_l y - x_l y_l) + (1 - c) (y_u x + x_u y - x_u y_u); above, the same across."""
    (a, b), (c, d) = ((box.low.unsqueeze(1), box.high.unsqueeze(1)) for box in boxes)
    share = _start(boxes).unsqueeze(1) if choice is None else choice
    rest = 1 - share
    return Planes(
        (share * c + rest * d, share * a + rest * b),
        -(share * a * c + rest * b * d),
        (share * d + rest * c, share * a + rest * b),
        -(share * a * d + rest * b * c),
    )


def _loose(boxes: Boxes) -> tuple[Tensor, Tensor]:
    x, y = boxes
    return y.high > y.low, x.high > x.low  # the range of one matters where the other varies


PRODUCT = Rule("product", lambda x, y: x * y, _range, _planes, _loose, _start)
