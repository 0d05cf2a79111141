"""What several threats allow at once: Both(Linf(8 / 255), L2(1.0))."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import Batch, column
from robustly.threats.ball import Ball, NormThreat
from robustly.threats.base import Convex, Domain
from robustly.threats.l0 import L0Ball
from robustly.threats.linf import LinfBall


@dataclass(frozen=True)
class BothSet(Convex):
    """The common members of two balls. The first measures distance and steps.

    Linf with another ball is that ball within narrower bounds, so projection is exact; two other balls alternate
    projections (Dykstra 1983) and shrink the last bit towards x, which lies in both.
    """

    first: Ball
    second: Ball

    @property
    def x(self) -> Tensor:  # type: ignore[override]
        """The common centre."""
        return self.first.x

    @property
    def radius(self) -> Tensor:
        return self.first.radius

    @property
    def core(self) -> Ball:
        """The first ball: see `Sized`."""
        return self.first

    @property
    def eps(self) -> Tensor:
        """That of the first ball."""
        return self.first.eps

    def resized(self, eps: Tensor) -> Self:
        """What a first ball of another radius and the second one have in common."""
        return replace(self, first=self.first.resized(eps))

    def contains(self, z: Tensor) -> Tensor:
        return self.first.contains(z) & self.second.contains(z)

    def distance(self, z: Tensor) -> Tensor:
        return self.first.distance(z)

    def take(self, index: Tensor) -> Self:
        return replace(self, first=self.first.take(index), second=self.second.take(index))

    def steepest(self, g: Tensor) -> Tensor:
        return self.first.steepest(g)

    def sample(self, key: Tensor) -> Tensor:
        return self.project(self.first.sample(key))

    def project(self, z: Tensor) -> Tensor:
        walk = self._narrowed()
        if walk is not None:
            return walk.project(z)
        p, q = torch.zeros_like(z), torch.zeros_like(z)
        for _ in range(50):
            a = self.first.project(z + p)
            p = z + p - a
            z = self.second.project(a + q)
            q = a + q - z
        over = self.first.distance(z) / self.first.eps.clamp_min(1e-30)
        shrink = column((1 / over.clamp_min(1)).to(z.dtype) * (1 - 1e-5), z)
        return torch.where(column(over > 1, z), self.x + shrink * (z - self.x), z)

    def linear_max(self, g: Tensor) -> Tensor:
        walk = self._narrowed()
        if walk is None:
            raise UsageError("the linear maximum over two balls of which neither is linf has no closed form here.")
        return walk.linear_max(g)

    def support(self, g: Tensor) -> Tensor:
        either = torch.minimum(self.first.support(g), self.second.support(g))  # both enclose the intersection
        walk = self._narrowed()
        return either if walk is None else torch.minimum(either, walk.support(g))

    def box(self) -> tuple[Tensor, Tensor]:
        (a, b), (c, d) = self.first.box(), self.second.box()
        return torch.maximum(a, c), torch.minimum(b, d)

    def _narrowed(self) -> Ball | None:
        for ball, bound in ((self.first, self.second), (self.second, self.first)):
            if isinstance(bound, LinfBall):
                return replace(ball, low=torch.maximum(ball.low, bound.low), high=torch.minimum(ball.high, bound.high))
        return None


@dataclass(frozen=True)
class Both:
    """The change must satisfy both threats; the first one measures distance."""

    first: NormThreat
    second: NormThreat

    def at(self, x: Batch, domain: Domain = Domain()) -> BothSet:  # noqa: B008 - frozen
        first, second = self.first.at(x, domain), self.second.at(x, domain)
        if isinstance(first, L0Ball) and not isinstance(second, LinfBall):
            raise UsageError(
                f'"{self}": a number of coordinates cannot be scaled; put l0 second: {self.second}&{self.first}.'
            )
        return BothSet(first, second)

    def __str__(self) -> str:
        return f"{self.first}&{self.second}"
