"""Lines around smooth functions of one variable, whatever their shape.

A line is sound because its offset is: for a slope s, the extremes of f(x) - s x over the box are bounded piece by piece,
where f is convex or concave, by a tangent at the place that a bisection found. For convex g and any t in [a, b]

    g(x) >= g(t) + min(g'(t) (a - t), g'(t) (b - t)),

so a bisection that stopped early costs tightness alone. Slopes are those of the convex (concave) hull at the middle of the
box, which leaves the least area, read off a few points of the curve.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.certify.linear.rules import FINE, Box, Boxes, Planes, Rule

POINTS, HALVINGS = 8, 40


class Curve(NamedTuple):
    """value, slope: f and f'. bends: where the curvature changes its sign. convex: is f convex before the first of them?

    domain: f is bounded only over boxes inside it (open at its ends).
    """

    name: str
    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    bends: tuple[float, ...] = ()
    convex: bool = True
    domain: tuple[float, float] = (-inf, inf)


def rule(curve: Curve) -> Rule:
    """The rule of a curve."""
    return Rule(curve.name, curve.value, partial(_range, curve), partial(_planes, curve), _loose)


def _range(curve: Curve, boxes: Boxes) -> Box:
    """The extremes of f - 0 x."""
    (x,) = boxes
    low, high = _extremes(curve, torch.zeros_like(x.low), x.low, x.high)
    spare = FINE * (torch.maximum(low.abs(), high.abs()) + _own(x))
    return Box(low - spare, high + spare)


def _planes(curve: Curve, boxes: Boxes, choice: Tensor | None = None) -> Planes:
    (x,) = boxes
    below, above = _hulls(curve, x.low, x.high)
    low, _ = _extremes(curve, below, x.low, x.high)
    _, high = _extremes(curve, above, x.low, x.high)
    spare = FINE * _own(x)
    return Planes((below.unsqueeze(1),), (low - spare).unsqueeze(1), (above.unsqueeze(1),), (high + spare).unsqueeze(1))


def _own(x: Box) -> Tensor:
    """The size of what the float64 evaluation of a curve may cancel: numbers as large as x; none is larger by more than 2^6."""
    return x.size * 2.0**-12


def _loose(boxes: Boxes) -> tuple[Tensor]:
    (x,) = boxes
    return (x.high > x.low,)


def _extremes(curve: Curve, slope: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """At most the least and at least the largest f(x) - slope x over [low, high]; NaN outside the domain."""
    known = (low > curve.domain[0]) & (high < curve.domain[1])
    low, high = torch.where(known, low, torch.nan), torch.where(known, high, torch.nan)
    ends = torch.stack([curve.value(v) - slope * v for v in (low, high)])
    least, most = ends.amin(0), ends.amax(0)
    edges = (-inf, *curve.bends, inf)
    for place, (left, right) in enumerate(pairwise(edges)):
        here = (low < right) & (high > left)
        a, b = low.clamp(left, right), high.clamp(left, right)
        sign = 1.0 if curve.convex == (place % 2 == 0) else -1.0
        t = _flat(curve, slope, a, b, sign)
        steep, at = curve.slope(t) - slope, curve.value(t) - slope * t
        reach = torch.stack((steep * (a - t), steep * (b - t)))
        if sign > 0:
            least = torch.where(here, torch.minimum(least, at + reach.amin(0)), least)
        else:
            most = torch.where(here, torch.maximum(most, at + reach.amax(0)), most)
    return least, most


def _flat(curve: Curve, slope: Tensor, a: Tensor, b: Tensor, sign: float) -> Tensor:
    """Where f' is nearest the slope on [a, b], on which it rises (sign 1) or falls (-1)."""
    for _ in range(HALVINGS):
        t = (a + b) / 2
        beyond = sign * (curve.slope(t) - slope) > 0
        a, b = torch.where(beyond, a, t), torch.where(beyond, t, b)
    return (a + b) / 2


def _hulls(curve: Curve, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes of the convex and of the concave hull at the middle: those of the lowest and highest chord across it."""
    middle, half = (low + high) / 2, (high - low) / 2
    tangent = curve.slope(middle)
    narrow = half <= 1e-5 * (1 + middle.abs())
    half = torch.where(narrow, 1e-5 * (1 + middle.abs()), half)
    share = (torch.arange(POINTS, device=low.device, dtype=low.dtype) + 1) / POINTS
    steps = half.unsqueeze(-1) * share
    left, right = curve.value(middle.unsqueeze(-1) - steps), curve.value(middle.unsqueeze(-1) + steps)
    one, two = steps.unsqueeze(-1), steps.unsqueeze(-2)
    chord = (right.unsqueeze(-2) - left.unsqueeze(-1)) / (one + two)
    height = (left.unsqueeze(-1) + chord * one).flatten(-2)
    chord = chord.flatten(-2)
    below = chord.gather(-1, height.argmin(-1, keepdim=True)).squeeze(-1)
    above = chord.gather(-1, height.argmax(-1, keepdim=True)).squeeze(-1)
    fine = torch.isfinite(below) & torch.isfinite(above) & ~narrow
    return torch.where(fine, below, tangent), torch.where(fine, above, tangent)
