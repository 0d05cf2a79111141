"""Sine and cosine between two lines: a box is moved by whole periods to where the curve has few bends, and back."""

from __future__ import annotations

import math
from functools import partial
from math import pi

import torch
from torch import Tensor

from robustly.certify.linear import smooth
from robustly.certify.linear.rules import FINE, Box, Boxes, Planes, Rule
from robustly.certify.linear.smooth import Curve

FAR = 1e4
"""Beyond this a period is not told from float64's rounding of its multiples, and only [-1, 1] is claimed."""


def periodic(curve: Curve) -> Rule:
    """The rule of a curve of period 2 pi with values in [-1, 1], whose `bends` are those of [-2 pi, 2 pi]."""
    return Rule(curve.name, curve.value, partial(_range, curve), partial(_planes, curve), _loose)


def _moved(x: Box) -> tuple[Box, Tensor, Tensor]:
    """The box with its middle in [-pi, pi], by how much it was moved, and whether it is short enough to tell."""
    by = ((x.low + x.high) / 2 / (2 * pi)).round() * (2 * pi)
    short = (x.high - x.low < 2 * pi) & (x.size < FAR)
    low, high = torch.where(short, x.low - by, 0.0), torch.where(short, x.high - by, 0.0)
    return Box(low, high), by, short


def _range(curve: Curve, boxes: Boxes) -> Box:
    box, _, short = _moved(boxes[0])
    near = smooth.rule(curve).range([box])
    known = ~torch.isnan(boxes[0].size)
    low, high = torch.where(short, near.low - FINE, -1.0), torch.where(short, near.high + FINE, 1.0)
    return Box(torch.where(known, low, torch.nan), torch.where(known, high, torch.nan))


def _planes(curve: Curve, boxes: Boxes, choice: Tensor | None = None) -> Planes:
    box, by, short = _moved(boxes[0])
    by, short = by.unsqueeze(1), short.unsqueeze(1)
    near = smooth.rule(curve).planes([box], None)
    unknown = torch.isnan(boxes[0].size).unsqueeze(1)

    def line(slope: Tensor, offset: Tensor, flat: float, spare: float) -> tuple[Tensor, Tensor]:
        slope, offset = torch.where(short, slope, 0.0), torch.where(short, offset - slope * by + spare, flat)
        return slope, torch.where(unknown, torch.nan, offset)

    low, low_offset = line(near.low[0], near.low_offset, -1.0, -FINE)
    high, high_offset = line(near.high[0], near.high_offset, 1.0, FINE)
    return Planes((low,), low_offset, (high,), high_offset)


def _loose(boxes: Boxes) -> tuple[Tensor]:
    (x,) = boxes
    return (x.high > x.low,)


SINE = periodic(Curve("sin", torch.sin, torch.cos, (-pi, 0.0, pi), convex=False))
COSINE = periodic(
    Curve("cos", torch.cos, lambda x: -torch.sin(x), tuple(k * math.pi / 2 for k in (-3, -1, 1, 3)), convex=False)
)
