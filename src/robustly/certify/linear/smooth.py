"""Lines around smooth functions of one variable, whatever their shape.

A line is sound because its offset is: for a slope s, the extremes of f(x) - s x over the box are bounded piece by piece,
where f is convex or concave, by a tangent at the place that a bisection found. For convex g and any t in [a, b]

    g(x) >= g(t) + min(g'(t) (a - t), g'(t) (b - t)),

so a bisection that stopped early costs tightness alone. Slopes are those of the convex (concave) hull at the middle of the
box, which leaves the least area, read off a few points of the curve.

A choice in [0, 1] goes from the hull's slope at the left end (0) over that at the middle (0.5) to that at the right end (1), by way
of a few lines that each enclose the curve: what lies between two of them is their mean by weight, and so encloses it as well.
That is a tangent point to be optimised, at the cost of one table a box.
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
LINES = 5
"""Lines in the table of a choice; odd, so that the middle is one of them."""


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
    return Rule(
        curve.name,
        curve.value,
        partial(_range, curve),
        partial(_planes, curve),
        _loose,
        _start,
        None,
        partial(_lines, curve),
    )


def _range(curve: Curve, boxes: Boxes) -> Box:
    """The extremes of f - 0 x."""
    (x,) = boxes
    low, high = _extremes(curve, torch.zeros_like(x.low), x.low, x.high)
    spare = FINE * (torch.maximum(low.abs(), high.abs()) + _own(x))
    return Box(low - spare, high + spare)


def _planes(curve: Curve, boxes: Boxes, choice: Tensor | None = None) -> Planes:
    if choice is not None:
        return between(_lines(curve, boxes), boxes, choice)
    (x,) = boxes
    below, above = _hulls(curve, x.low, x.high)
    low, _ = _extremes(curve, below, x.low, x.high)
    _, high = _extremes(curve, above, x.low, x.high)
    spare = FINE * _own(x)
    return Planes((below.unsqueeze(1),), (low - spare).unsqueeze(1), (above.unsqueeze(1),), (high + spare).unsqueeze(1))


def _start(boxes: Boxes) -> Tensor:
    return torch.full_like(boxes[0].low, 0.5)


def _lines(curve: Curve, boxes: Boxes) -> Planes:
    """The table of a box: planes with LINES in place of the specifications, the middle one as `_planes` has it."""
    (x,) = boxes
    with torch.no_grad():  # only a search asks for choices, and it follows those
        below, above = _hulls(curve, x.low, x.high)
        (lowest, highest), shares = _ends(curve, x), torch.linspace(-1, 1, LINES, dtype=x.low.dtype).tolist()
        found = []
        for share in shares:
            one = below + (below - lowest[0] if share < 0 else lowest[1] - below) * share
            two = above + (above - highest[0] if share < 0 else highest[1] - above) * share
            low, _ = _extremes(curve, one, x.low, x.high)
            _, high = _extremes(curve, two, x.low, x.high)
            found.append((one, low - FINE * _own(x), two, high + FINE * _own(x)))
        middle = found[LINES // 2]
        fine = [torch.isfinite(torch.stack(one)).all(0) for one in found]
        kept = [
            tuple(torch.where(ok, a, b) for a, b in zip(one, middle, strict=True))
            for ok, one in zip(fine, found, strict=True)
        ]
        low, low_offset, high, high_offset = (torch.stack(parts, 1) for parts in zip(*kept, strict=True))
    return Planes((low,), low_offset, (high,), high_offset)


def between(lines: Planes, boxes: Boxes, choice: Tensor) -> Planes:
    """The planes at a choice (B, S, *shape), between those of a table; moved apart by the rounding of their mean.

    A choice that is NaN, as the search for it leaves where nothing is known, is that of the middle.
    """
    place = torch.nan_to_num(choice, nan=0.5).clamp(0, 1) * (LINES - 1)
    first = place.detach().floor().clamp(0, LINES - 2).long()
    share = place - first
    (x,) = boxes
    size = x.size.unsqueeze(1)

    def mean(slopes: Tensor, offsets: Tensor, sign: float) -> tuple[Tensor, Tensor]:
        a, b = _picked(slopes, first), _picked(slopes, first + 1)
        c, d = _picked(offsets, first), _picked(offsets, first + 1)
        spare = FINE * share * ((a.abs() + b.abs()) * size + c.abs() + d.abs())
        return (1 - share) * a + share * b, (1 - share) * c + share * d + sign * spare

    low, low_offset = mean(lines.low[0], lines.low_offset, -1.0)
    high, high_offset = mean(lines.high[0], lines.high_offset, 1.0)
    return Planes((low,), low_offset, (high,), high_offset)


def _picked(table: Tensor, place: Tensor) -> Tensor:
    """Entries (B, S, *shape) of a table (B, LINES, *shape)."""
    return table.expand(len(place), *table.shape[1:]).gather(1, place)


def _ends(curve: Curve, x: Box) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Slopes of the convex and of the concave hull at the left and the right end, read off a few chords."""
    share = (torch.arange(POINTS, device=x.low.device, dtype=x.low.dtype) + 1) / POINTS
    width = (x.high - x.low).clamp_min(1e-9).unsqueeze(-1)
    left = (curve.value(x.low.unsqueeze(-1) + width * share) - curve.value(x.low).unsqueeze(-1)) / (width * share)
    right = (curve.value(x.high).unsqueeze(-1) - curve.value(x.high.unsqueeze(-1) - width * share)) / (width * share)
    left = torch.cat((left, curve.slope(x.low).unsqueeze(-1)), -1)
    right = torch.cat((right, curve.slope(x.high).unsqueeze(-1)), -1)
    return (left.amin(-1), right.amax(-1)), (left.amax(-1), right.amin(-1))


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
