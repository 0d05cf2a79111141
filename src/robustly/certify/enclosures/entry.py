"""How a perturbation set enters a network: its box, and the norm balls it lies in."""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.certify.enclosures.value import Image, Interval
from robustly.core.rows import column
from robustly.threats.ball import Ball
from robustly.threats.base import Convex, PerturbationSet
from robustly.threats.coordinates import TOLERANCE
from robustly.threats.grid import GridSet
from robustly.threats.intersection import BothSet
from robustly.threats.l0 import L0Ball
from robustly.threats.l1 import L1Ball
from robustly.threats.l2 import L2Ball
from robustly.threats.patch import PatchSet


def enter(around: PerturbationSet) -> Interval | None:
    """The set as a value at a network's input, or None where it has no bounds (a discrete set).

    Membership has a slack of `TOLERANCE`, so box and radii are widened by as much and by their own rounding: whatever
    the judge accepts as a member is enclosed. A patch is enclosed by as many numbers, anywhere in the range.
    """
    if isinstance(around, GridSet):
        return enter(around.ball)
    if isinstance(around, PatchSet):
        return _painted(around)
    if not isinstance(around, Convex):
        return None
    low, high = around.box()
    x = around.x.double()
    largest = torch.maximum(x.abs(), torch.maximum(low.abs(), high.abs())).flatten(1).amax(1)
    slack = column(2 * TOLERANCE * largest.clamp_min(1.0), x)
    low, high = low - slack, high + slack
    balls = (around.first, around.second) if isinstance(around, BothSet) else (around,)
    room = torch.maximum(high - x, x - low).flatten(1).amax(1)
    images = [_image(ball, x, room) for ball in balls if isinstance(ball, Ball)]
    return Interval(low, high, tuple(i for i in images if i is not None))


def _painted(around: PatchSet) -> Interval:
    """The range, and an l0 ball of the numbers in a square."""
    x = around.x.double()
    low, high = torch.full_like(x, around.domain.low), torch.full_like(x, around.domain.high)
    size = torch.maximum(low.abs(), high.abs())
    slack = 2 * TOLERANCE * size.clamp_min(1.0)
    low, high = torch.minimum(low - slack, x), torch.maximum(high + slack, x)
    room = torch.maximum(high - x, x - low).flatten(1).amax(1)
    channels, *sides = x.shape[1:]
    count = channels * min(around.side, sides[0]) * min(around.side, sides[1])
    image = Image(x, torch.ones_like(x[:1]), torch.zeros_like(x), "l0", x.new_full((len(x),), count), room)
    return Interval(low, high, (image,))


def _image(ball: Ball, x: Tensor, room: Tensor) -> Image | None:
    norm = {L2Ball: "l2", L1Ball: "l1", L0Ball: "l0"}.get(type(ball))
    if norm is None:
        return None
    eps = ball.eps + TOLERANCE * x.abs().flatten(1).amax(1).clamp_min(1.0)
    return Image(x, torch.ones_like(x[:1]), torch.zeros_like(x), norm, eps, room)
