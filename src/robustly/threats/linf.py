"""Every coordinate may move by at most eps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from robustly.core import keys
from robustly.threats.ball import Ball, NormThreat
from robustly.threats.coordinates import bounds


@dataclass(frozen=True)
class LinfBall(Ball):
    """The linf ball: a box, so every question has a closed form."""

    def distance(self, z: Tensor) -> Tensor:
        return (z.double() - self.x.double()).abs().flatten(1).amax(1)

    def resized(self, eps: Tensor) -> Self:
        low, high = bounds(self.x, self.domain, self.mask, eps)
        return replace(self, eps=eps, low=low, high=high)

    def project(self, z: Tensor) -> Tensor:
        return self.clip(z)

    def steepest(self, g: Tensor) -> Tensor:
        return g.sign()

    def linear_max(self, g: Tensor) -> Tensor:
        return torch.where(g > 0, self.high, torch.where(g < 0, self.low, self.x))

    def sample(self, key: Tensor) -> Tensor:
        """Uniform in the set; where the domain and eps are infinite, standard normal around x."""
        return self.clip(uniform_between(self, key))


def uniform_between(ball: Ball, key: Tensor) -> Tensor:
    """Uniform between the per-coordinate bounds; standard normal around x where they are infinite."""
    shape = ball.x.shape[1:]
    if torch.isfinite(ball.low).all() and torch.isfinite(ball.high).all():
        return ball.low + keys.uniform(key, shape) * (ball.high - ball.low)
    return ball.x + keys.normal(key, shape)


@dataclass(frozen=True)
class Linf(NormThreat):
    """Each coordinate may change by at most eps, in input units: Linf(8 / 255) for images in [0, 1]."""

    ball = LinfBall
    name = "linf"
    per_coordinate = True
