"""Images turned about their centre and moved: a finite grid of angles and whole-pixel shifts.

Engstrom et al. 2019, "Exploring the Landscape of Spatial Robustness", arXiv:1712.02779, whose grid attack tries all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import Batch
from robustly.threats.base import Domain
from robustly.threats.enumerated import Change, Enumerated
from robustly.threats.images import count, image_batch, plain, size

FARTHEST = 64
"""Most pixels of a shift."""


@dataclass(frozen=True)
class Rotate:
    """Turned by a multiple of `step` degrees, at most `eps` either way, then moved by up to `shift` whole pixels along
    each axis: Rotate(30, shift=3) is the paper's set at step=2 with every shift in place of five.

    Values between pixels are bilinear; what enters from outside is the lowest value of the range (black). Distance is the
    angle in degrees.
    """

    eps: float
    shift: int = 0
    step: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no angle, and a step that leaves no angle but 0."""
        object.__setattr__(self, "eps", size(self.eps, "degrees of rotate"))
        object.__setattr__(self, "shift", count(self.shift, "shift of rotate", FARTHEST))
        object.__setattr__(self, "step", size(self.step, "step of rotate"))
        if self.eps > 180:
            raise UsageError(f"rotate is in degrees, at most 180, got {plain(self.eps)}.")
        if not self.step or 0 < self.eps < self.step:
            raise UsageError(
                f"rotate:{plain(self.eps)} in steps of {plain(self.step)} degrees has no angle but 0: choose a smaller "
                f"step above 0, say rotate:{plain(self.eps)},step:{plain(self.eps / 4 or 1)}."
            )

    def at(self, x: Batch, domain: Domain = Domain()) -> Enumerated:  # noqa: B008 - frozen
        x = image_batch(x, domain, str(self))
        turns = math.floor(self.eps / self.step * (1 + 1e-12))
        angles = [k * self.step for k in range(-turns, turns + 1)]
        ways = [(a, v, h) for a in angles for v, h in _shifts(self.shift) if (a, v, h) != (0, 0, 0)]
        ways.sort(key=lambda way: (abs(way[0]), max(abs(way[1]), abs(way[2])), way))
        return Enumerated(x, domain, tuple(_change(abs(way[0]), *way) for way in ways))

    def __str__(self) -> str:
        moved = f",shift:{self.shift}" if self.shift else ""
        return f"rotate:{plain(self.eps)}{moved}" + ("" if self.step == 1 else f",step:{plain(self.step)}")


@dataclass(frozen=True)
class Shift:
    """Moved by at most `eps` whole pixels along each axis; what enters is black. Distance is the larger of the two."""

    eps: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", float(count(self.eps, "pixels of shift", FARTHEST)))

    def at(self, x: Batch, domain: Domain = Domain()) -> Enumerated:  # noqa: B008 - frozen
        x = image_batch(x, domain, str(self))
        ways = sorted((max(abs(v), abs(h)), v, h) for v, h in _shifts(int(self.eps)) if (v, h) != (0, 0))
        return Enumerated(x, domain, tuple(_change(far, 0.0, v, h) for far, v, h in ways))

    def __str__(self) -> str:
        return f"shift:{plain(self.eps)}"


def turned(x: Tensor, degrees: float, down: int, right: int) -> Tensor:
    """Images (B, C, H, W), float64, turned counter-clockwise about their centre, then moved; 0 enters from outside."""
    index, weight = _sources(x.shape[2], x.shape[3], degrees, down, right)
    flat, index, weight = x.flatten(2), index.to(x.device), weight.to(x.device)
    parts = [weight[k] * flat[:, :, index[k]] for k in range(4)]  # no reduction: the same bits in any batch
    return (parts[0] + parts[1] + parts[2] + parts[3]).view_as(x)


@lru_cache(maxsize=64)
def _sources(height: int, width: int, degrees: float, down: int, right: int) -> tuple[Tensor, Tensor]:
    """Of each pixel the four that its value comes from, int64 (4, H * W), and their weights, float64 (4, H * W)."""
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    middle, centre = (height - 1) / 2, (width - 1) / 2
    up = middle + down - torch.arange(height, dtype=torch.float64)[:, None]
    across = torch.arange(width, dtype=torch.float64)[None] - centre - right
    row, column = middle - (up * cos - across * sin), centre + (across * cos + up * sin)
    top, left = row.floor(), column.floor()
    index, weight = [], []
    for v in (0, 1):
        for h in (0, 1):
            r, c = top + v, left + h
            share = (1 - (row - r).abs()) * (1 - (column - c).abs())
            inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            index.append((r.clamp(0, height - 1) * width + c.clamp(0, width - 1)).long().flatten())
            weight.append(torch.where(inside, share, 0).flatten())
    return torch.stack(index), torch.stack(weight)


def _shifts(most: int) -> list[tuple[int, int]]:
    return [(v, h) for v in range(-most, most + 1) for h in range(-most, most + 1)]


def _change(far: float, degrees: float, down: int, right: int) -> Change:
    name = f"turned by {plain(degrees)} degrees, {down} down, {right} right"
    return Change(float(far), name, partial(turned, degrees=degrees, down=down, right=right))
