"""max(x, 0) between two lines (Zhang et al. 2018, arXiv:1811.00866, table 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.certify.linear.rules import FINE, Box, Boxes, Planes, Rule


def _value(x: Tensor) -> Tensor:
    return x.clamp_min(0)


def _range(boxes: Boxes) -> Box:
    (x,) = boxes
    return Box(x.low.clamp_min(0), x.high.clamp_min(0))


def _start(boxes: Boxes) -> Tensor:
    """1 where the line y = x leaves less area than y = 0, the adaptive choice of CROWN."""
    (x,) = boxes
    return (x.high > -x.low).to(x.low.dtype)


def _planes(boxes: Boxes, choice: Tensor | None = None) -> Planes:
    """Above, the chord; below, the line through zero of slope `choice`."""
    (x,) = boxes
    low, high = x.low.unsqueeze(1), x.high.unsqueeze(1)
    choice = _start(boxes).unsqueeze(1) if choice is None else choice
    on, off = low >= 0, high <= 0
    one, zero = torch.ones_like(low), torch.zeros_like(low)
    width = torch.where(on | off, one, high - low)
    chord = torch.where(on, one, torch.where(off, zero, high / width))
    offset = torch.where(on | off, zero, -low * chord)
    spare = 4 * FINE * torch.maximum(low.abs(), high.abs())
    return Planes((torch.where(on, one, torch.where(off, zero, choice)),), -spare, (chord,), offset + spare)


def _loose(boxes: Boxes) -> tuple[Tensor]:
    (x,) = boxes
    return ((x.low < 0) & (x.high > 0),)


RELU = Rule("relu", _value, _range, _planes, _loose, _start, switch=0)


def _top(boxes: Boxes) -> Box:
    a, b, _ = boxes
    return Box(torch.maximum(a.low, b.low), torch.maximum(a.high, b.high))


def _top_planes(boxes: Boxes, choice: Tensor | None = None) -> Planes:
    rise = _planes(boxes[2:], choice)
    none, one = torch.zeros_like(rise.low_offset), torch.ones_like(rise.low_offset)
    spare = 4 * FINE * boxes[1].size.unsqueeze(1)
    return Planes(
        (none, one, rise.low[0]), rise.low_offset - spare, (none, one, rise.high[0]), rise.high_offset + spare
    )


MAXIMUM = Rule(
    "maximum",
    lambda a, b, difference: torch.maximum(a, b),
    _top,
    _top_planes,
    lambda boxes: (None, None, *_loose(boxes[2:])),
    lambda boxes: _start(boxes[2:]),
    switch=2,
)
"""max(a, b) = b + max(d, 0) of a, b and their difference d = a - b, which is a node so that it has a range of its own."""
