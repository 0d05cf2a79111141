"""Only what survives storage in `bits` bits a number: a perturbation finer than that is no finding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import Batch, column
from robustly.threats.ball import Ball, NormThreat
from robustly.threats.base import Domain, Smooth
from robustly.threats.coordinates import TOLERANCE

SHARES = (0.4, 0.6, 0.8, 0.9, 0.97, 1.0)
"""Shares of a change that are tried on the grid; the last that stays inside is taken."""


@dataclass(frozen=True)
class GridSet(Smooth):
    """The members of a ball that lie on the grid of 2^bits levels between the ends of the domain."""

    ball: Ball
    bits: int

    @property
    def x(self) -> Tensor:  # type: ignore[override]
        """The centre of the ball."""
        return self.ball.x

    @property
    def radius(self) -> Tensor:
        return self.ball.radius

    @property
    def core(self) -> Ball:
        """The ball: see `Sized`."""
        return self.ball

    @property
    def eps(self) -> Tensor:
        """That of the ball."""
        return self.ball.eps

    def resized(self, eps: Tensor) -> Self:
        """The levels in the ball of another radius."""
        return replace(self, ball=self.ball.resized(eps))

    @property
    def walk(self) -> Ball:
        """The ball: steps of less than half a level add up in it."""
        return self.ball

    def contains(self, z: Tensor) -> Tensor:
        off = (z.double() - self._nearest(z).double()).abs() <= TOLERANCE * max(1.0, abs(self.ball.domain.high))
        return self.ball.contains(z) & off.flatten(1).all(1)

    def distance(self, z: Tensor) -> Tensor:
        return self.ball.distance(z)

    def project(self, z: Tensor) -> Tensor:
        """The levels nearest to the ball's projection, or to the largest share of that change whose levels stay inside;
        at last each level towards x, which is on the grid, so that this always is inside."""
        z = self.ball.project(z)
        out = self._toward(z)
        for share in SHARES:
            near = self._nearest(self.x + share * (z - self.x))
            out = torch.where(column(self.ball.contains(near), z), near, out)
        return out

    def steepest(self, g: Tensor) -> Tensor:
        return self.ball.steepest(g)

    def sample(self, key: Tensor) -> Tensor:
        return self.project(self.ball.sample(key))

    def take(self, index: Tensor) -> Self:
        return replace(self, ball=self.ball.take(index))

    def _level(self, z: Tensor) -> Tensor:
        low, high = self.ball.domain.low, self.ball.domain.high
        return (z.double() - low) * ((2**self.bits - 1) / (high - low))

    def _value(self, level: Tensor) -> Tensor:
        low, high = self.ball.domain.low, self.ball.domain.high
        return (level * (high - low) / (2**self.bits - 1) + low).to(self.ball.x.dtype)

    def _nearest(self, z: Tensor) -> Tensor:
        return self._value(self._level(z).round())

    def _toward(self, z: Tensor) -> Tensor:
        own, level = self._level(self.ball.x).round(), self._level(z)
        return self._value(torch.where(level > own, (level + 1e-4).floor(), (level - 1e-4).ceil()))


@dataclass(frozen=True)
class Grid:
    """A norm ball whose members are stored in `bits` bits a number: Grid(Linf(8 / 255)) for 8-bit images."""

    threat: NormThreat
    bits: int = 8

    def at(self, x: Batch, domain: Domain = Domain()) -> GridSet:  # noqa: B008 - frozen
        if not (domain.high - domain.low < float("inf")):
            raise UsageError(
                f"a {self.bits}-bit grid needs a bounded range, got {domain}: declare it, say range=(0, 1)."
            )
        out = GridSet(self.threat.at(x, domain), self.bits)
        far = (out.x.double() - out._nearest(out.x).double()).abs().flatten(1).amax(1)
        if (far > TOLERANCE * max(1.0, abs(domain.high))).any():
            index = int((far > TOLERANCE * max(1.0, abs(domain.high))).nonzero()[0])
            raise UsageError(
                f"input {index} is not on the {self.bits}-bit grid of {domain} (off by {far[index]:.2g}). "
                "Use images as they were stored, unresized, or a threat without the grid."
            )
        return out

    def __str__(self) -> str:
        return f"{self.threat}@{self.bits}bit"
