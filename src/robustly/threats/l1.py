"""The sum of the absolute changes is at most eps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.rows import column
from robustly.threats.ball import Ball, NormThreat
from robustly.threats.linf import uniform_between


@dataclass(frozen=True)
class L1Ball(Ball):
    """The l1 ball cut by per-coordinate bounds."""

    def distance(self, z: Tensor) -> Tensor:
        return (z.double() - self.x.double()).abs().flatten(1).sum(1)

    def project(self, z: Tensor) -> Tensor:
        """Exact: clip(x + soft(z - x, s)) with the least s >= 0 that stays inside.

        The length as a function of s is piecewise linear with breaks at |d_i| and |d_i| - room_i; the piece where it
        crosses eps is found by sorting them (Croce & Hein 2021, arXiv:2103.01208, section 3, does the same).
        """
        d = z - self.x
        size, room = d.abs().flatten(1).double(), self._room(d).double()  # float64: a far point cancels all of float32
        breaks = torch.cat((size, (size - room).clamp_min(0)), 1)
        slope = torch.cat((torch.ones_like(size), -torch.ones_like(size)), 1)
        slope[:, size.shape[1] :] *= torch.isfinite(room)  # without a bound the second break never comes
        order = breaks.argsort(1, descending=True)
        breaks, slope = breaks.gather(1, order), slope.gather(1, order).cumsum(1)
        gaps = breaks - torch.cat((breaks[:, 1:], torch.zeros_like(breaks[:, :1])), 1)
        reached = (slope * gaps).cumsum(1)  # the length at the lower end of each piece
        target = self.inner.double()[:, None]
        last = breaks.shape[1] - 1
        piece = (reached < target).sum(1, keepdim=True).clamp(max=last)
        missing = target - torch.where(piece > 0, reached.gather(1, (piece - 1).clamp_min(0)), 0)
        shrink = breaks.gather(1, piece) - missing / slope.gather(1, piece).clamp_min(1)
        inside = size.minimum(room).sum(1, keepdim=True) <= target
        shrink = torch.where(inside, 0, shrink.clamp_min(0))
        soft = (size - shrink).clamp_min(0).to(d.dtype).view_as(d) * d.sign()
        return self.clip(self.x + soft)

    def steepest(self, g: Tensor) -> Tensor:
        """All on the coordinate of largest gradient that still has room."""
        flat = g.flatten(1)
        room = self._room(g)
        best = torch.where(room > 0, flat.abs(), -1).argmax(1, keepdim=True)
        return torch.zeros_like(flat).scatter(1, best, flat.gather(1, best).sign()).view_as(g)

    def linear_max(self, g: Tensor) -> Tensor:
        """Exact: spend eps on the coordinates of largest |g| first, each up to its bound."""
        flat, room = g.flatten(1), self._room(g)
        order = flat.abs().argsort(1, descending=True)
        fill = room.gather(1, order).clamp(max=1e30).double()
        before = fill.cumsum(1) - fill
        spend = torch.minimum(fill, (self.inner.double()[:, None] - before).clamp_min(0)).to(flat.dtype)
        change = torch.zeros_like(flat).scatter(1, order, spend) * flat.sign()
        return self.clip(self.x + change.view_as(g))

    def sample(self, key: Tensor) -> Tensor:
        """Uniform in the ball (exponentials over their sum), then clipped; with eps = inf uniform between the bounds."""
        shape, n = self.x.shape[1:], self.x[0].numel()
        sizes = -torch.log1p(-keys.uniform(keys.fold(key, 1), shape))
        signs = torch.where(keys.uniform(keys.fold(key, 2), shape) < 0.5, -1.0, 1.0)
        length = keys.uniform(keys.fold(key, 3), ()) ** (1 / n) / sizes.flatten(1).sum(1)
        finite = torch.isfinite(self.eps)
        inside = self.x + column(torch.where(finite, self.inner, 0) * length, sizes) * sizes * signs
        return self.clip(torch.where(column(finite, inside), inside, uniform_between(self, keys.fold(key, 4))))

    def _room(self, d: Tensor) -> Tensor:
        """How far each coordinate can go in the direction of d, (B, n)."""
        return torch.where(d > 0, self.high - self.x, self.x - self.low).flatten(1)


@dataclass(frozen=True)
class L1(NormThreat):
    """The absolute changes sum to at most eps, in input units."""

    ball = L1Ball
    name = "l1"
