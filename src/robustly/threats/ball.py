"""What all norm balls share: a centre, a radius a row, per-coordinate bounds, and the threat that makes them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from robustly.core.rows import Batch, column
from robustly.threats.base import Convex, Domain
from robustly.threats.coordinates import TOLERANCE, bounds, checked, radius, row_mask, within


@dataclass(frozen=True)
class Ball(Convex):
    """A norm ball around x (B, ...), cut by the domain and the mask.

    eps: float64 (B,). low, high: float32 (B, ...), the per-coordinate bounds a walk may use; they contain x.
    """

    x: Tensor
    eps: Tensor
    low: Tensor
    high: Tensor
    domain: Domain
    mask: Tensor | None

    @abstractmethod
    def distance(self, z: Batch) -> Tensor: ...

    def contains(self, z: Batch) -> Tensor:
        """Distance at most eps (relative slack TOLERANCE), in the domain, unchanged outside the mask."""
        assert isinstance(z, Tensor)
        slack = TOLERANCE * torch.clamp_min(self.x.double().abs().flatten(1).amax(1), 1.0)
        return (self.distance(z) <= self.eps + slack) & within(z, self.x, self.domain, self.mask)

    @property
    def radius(self) -> Tensor:
        return self.eps.to(self.x.dtype)

    @property
    def inner(self) -> Tensor:
        """Float32 (B,): the radius projections aim at, a little inside, so that rounding never leaves the ball."""
        return (self.eps * (1 - 1e-5)).to(self.x.dtype)

    def take(self, index: Tensor) -> Self:
        return replace(
            self,
            x=self.x[index],
            eps=self.eps[index],
            low=self.low[index],
            high=self.high[index],
            mask=None if self.mask is None else self.mask[index],
        )

    def box(self) -> tuple[Tensor, Tensor]:
        wide, e = self.x.double(), column(self.eps, self.x)
        return torch.maximum(self.low.double(), wide - e), torch.minimum(self.high.double(), wide + e)

    def clip(self, z: Tensor) -> Tensor:
        """The nearest point within the per-coordinate bounds."""
        return torch.minimum(torch.maximum(z, self.low), self.high)


@dataclass(frozen=True)
class NormThreat:
    """A norm ball of radius eps (a number, or one a row) in input units, before any normalisation.

    eps = inf leaves only the domain, for attacks that look for the least distance. mask: bool, broadcastable to the
    inputs, True where the attacker may write.
    """

    eps: float | Tensor
    mask: Tensor | None = None

    ball: ClassVar[type[Ball]]
    name: ClassVar[str]
    per_coordinate: ClassVar[bool] = False  # does eps bound each coordinate on its own?

    def at(self, x: Batch, domain: Domain = Domain()) -> Ball:  # noqa: B008 - frozen
        x = checked(x, domain, str(self))
        eps, mask = radius(self.eps, x), row_mask(self.mask, x)
        low, high = bounds(x, domain, mask, eps if self.per_coordinate else None)
        return self.ball(x, eps, low, high, domain, mask)

    def __str__(self) -> str:
        return f"{self.name}:{_shown(self.eps)}" + ("" if self.mask is None else " in a mask")


def _shown(eps: float | Tensor) -> str:
    """Eps as people write it: 8/255 rather than 0.0313725490196."""
    if isinstance(eps, Tensor):
        return "per-example"
    levels = round(eps * 255) if eps < 1 else 0
    return f"{levels}/255" if levels and eps == levels / 255 else repr(float(eps)).removesuffix(".0")
