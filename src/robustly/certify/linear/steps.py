"""Functions that jump, between two lines: sign and floor."""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.certify.linear.rules import Box, Boxes, Planes, Rule

LEAST = 1e-12
"""What a line is not steeper than two over."""


def _sign(x: Tensor) -> Tensor:
    """torch's own, but for NaN, of which it makes zero."""
    return torch.where(torch.isnan(x), x, x.sign())


def _sign_range(boxes: Boxes) -> Box:
    (x,) = boxes
    return Box(_sign(x.low), _sign(x.high))


def _sign_start(boxes: Boxes) -> Tensor:
    """1 where a lower line that reaches 1 at the upper end leaves less area than -1, and an upper one then more than 1."""
    (x,) = boxes
    return (x.high > -x.low).to(x.low.dtype)


def _sign_planes(boxes: Boxes, choice: Tensor | None = None) -> Planes:
    """Below, -1 + 2 c x / high, which is at most -1 left of zero and at most 1 right of it; above, the same mirrored."""
    (x,) = boxes
    choice = _sign_start(boxes).unsqueeze(1) if choice is None else choice
    low, high = x.low.unsqueeze(1), x.high.unsqueeze(1)
    open_ = (low < 0) & (high > 0)
    below = torch.where(open_, 2 * choice / high.clamp_min(LEAST), 0.0)
    above = torch.where(open_, 2 * (1 - choice) / (-low).clamp_min(LEAST), 0.0)
    return Planes((below,), _sign(low).expand_as(below), (above,), _sign(high).expand_as(above))


def _sign_loose(boxes: Boxes) -> tuple[Tensor]:
    (x,) = boxes
    return (x.low.sign() != x.high.sign(),)


SIGN = Rule("sign", torch.sign, _sign_range, _sign_planes, _sign_loose, _sign_start)


def _floor_range(boxes: Boxes) -> Box:
    (x,) = boxes
    return Box(x.low.floor(), x.high.floor())


def _floor_planes(boxes: Boxes, choice: Tensor | None = None) -> Planes:
    """Its values at the ends where it jumps once or never; else x - 1 and x."""
    (x,) = boxes
    low, high = x.low.floor().unsqueeze(1), x.high.floor().unsqueeze(1)
    flat = high - low <= 1
    slope = torch.where(flat, 0.0, torch.ones_like(low))
    return Planes((slope,), torch.where(flat, low, -1.0), (slope,), torch.where(flat, high, 0.0))


def _floor_loose(boxes: Boxes) -> tuple[Tensor]:
    (x,) = boxes
    return (x.low.floor() != x.high.floor(),)


FLOOR = Rule("floor", torch.floor, _floor_range, _floor_planes, _floor_loose)
