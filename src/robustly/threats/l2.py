"""The Euclidean length of the change is at most eps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.rows import column
from robustly.threats.ball import Ball, NormThreat
from robustly.threats.linf import uniform_between


@dataclass(frozen=True)
class L2Ball(Ball):
    """The l2 ball cut by per-coordinate bounds."""

    def distance(self, z: Tensor) -> Tensor:
        return (z.double() - self.x.double()).flatten(1).norm(dim=1)

    def project(self, z: Tensor) -> Tensor:
        """Exact: the nearest point is clip(x + t (z - x)) for the largest t <= 1 that stays inside (its KKT conditions)."""
        d = z - self.x
        return self.clip(self.x + column(self._stretch(d, 1.0), d) * d)

    def steepest(self, g: Tensor) -> Tensor:
        return g / column(g.flatten(1).norm(dim=1).clamp_min(1e-30), g)

    def linear_max(self, g: Tensor) -> Tensor:
        """Exact: clip(x + t g), with t so large that the length is eps (or every coordinate is at its bound)."""
        unit = self.steepest(g)
        return self.clip(self.x + column(self._stretch(unit, 1e12), g) * unit)

    def sample(self, key: Tensor) -> Tensor:
        """Uniform in the ball, then clipped to the bounds; with eps = inf uniform between the bounds."""
        shape = self.x.shape[1:]
        direction = self.steepest(keys.normal(keys.fold(key, 1), shape))
        length = keys.uniform(keys.fold(key, 2), ()) ** (1 / self.x[0].numel())
        finite = torch.isfinite(self.eps)
        inside = self.x + column(torch.where(finite, self.inner, 0) * length, direction) * direction
        return self.clip(torch.where(column(finite, inside), inside, uniform_between(self, keys.fold(key, 3))))

    def _stretch(self, d: Tensor, most: float) -> Tensor:
        """The largest t <= most with ||clip(x + t d) - x|| <= eps, (B,).

        Newton from below on a function that is quadratic between the points where a coordinate meets its bound: with
        the coordinates clipped so far held fixed, the length is overestimated, so no iterate leaves the ball.
        """
        room = torch.where(d > 0, self.high - self.x, self.x - self.low).flatten(1)
        size, target = d.abs().flatten(1), self.inner.square()
        t = torch.minimum(self.inner / size.norm(dim=1).clamp_min(1e-30), self.inner.new_tensor(most))
        for _ in range(size.shape[1] + 1):
            clipped = t[:, None] * size >= room
            spent = torch.where(clipped, room, 0).square().sum(1)
            free = torch.where(clipped, 0, size).square().sum(1)
            further = ((target - spent).clamp_min(0) / free.clamp_min(1e-38)).sqrt().clamp(max=most)
            rises = further > t * (1 + 1e-7)  # a row that has arrived keeps its bits, whoever else goes on
            if not rises.any():
                break
            t = torch.where(rises, further, t)
        return t


@dataclass(frozen=True)
class L2(NormThreat):
    """The Euclidean length of the change is at most eps, in input units."""

    ball = L2Ball
    name = "l2"
