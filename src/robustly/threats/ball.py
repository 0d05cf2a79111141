"""What all norm balls share: a centre, a radius a row, per-coordinate bounds, and the threat that makes them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import Batch, column
from robustly.threats.base import Convex, Domain
from robustly.threats.coordinates import TOLERANCE, bounds, checked, number, radius, row_mask, within


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
    def distance(self, z: Tensor) -> Tensor: ...

    def contains(self, z: Tensor) -> Tensor:
        """Distance at most eps (relative slack TOLERANCE), in the domain, unchanged outside the mask."""
        return (self.distance(z) <= self.eps + self._slack) & within(z, self.x, self.domain, self.mask)

    @property
    def _slack(self) -> Tensor:
        """Float64 (B,): how far beyond eps a point still counts, for the rounding of float32."""
        return TOLERANCE * self.x.double().abs().flatten(1).amax(1).clamp_min(1.0)

    @property
    def radius(self) -> Tensor:
        return self.eps.to(self.x.dtype)

    @property
    def inner(self) -> Tensor:
        """Float32 (B,): the radius projections aim at, a little inside, so that rounding never leaves the ball."""
        return (self.eps * (1 - 1e-5)).to(self.x.dtype)

    @property
    def core(self) -> Self:
        """Itself: see `Sized`."""
        return self

    def resized(self, eps: Tensor) -> Self:
        """The ball of another radius, float64 (B,), within the same domain and mask."""
        return replace(self, eps=eps)

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
        """Float64 (low, high): of all that `contains` accepts, its slack included."""
        wide, reach = self.x.double(), column(self.eps + self._slack, self.x)
        low = (wide - reach).clamp_min(self.domain.low)
        high = (wide + reach).clamp_max(self.domain.high)
        if self.mask is None:
            return low, high
        return torch.where(self.mask, low, wide), torch.where(self.mask, high, wide)

    def support(self, g: Tensor) -> Tensor:
        """Float64 (B,): at least max <g, z> over all that `contains` accepts.

        The gain over x is concave in the radius and `linear_max` stops at `inner`, so the whole radius gains at most
        1 / (1 - 1e-5) as much; the slack adds at most itself times |g|_1, whatever the norm.
        """
        wide, size = g.double().flatten(1), g.double().abs().flatten(1)
        move = (self.linear_max(g).double() - self.x.double()).flatten(1)
        at_x = (wide * self.x.double().flatten(1)).sum(1)
        return at_x + (wide * move).sum(1) * (1 + 2e-5) + 2 * self._slack * size.sum(1)

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

    def __post_init__(self) -> None:
        """Read eps such as "8/255", and refuse what is no size."""
        if isinstance(self.eps, str):
            object.__setattr__(self, "eps", number(self.eps, f"eps of {self.name}"))
        if not isinstance(self.eps, Tensor) and not (isinstance(self.eps, (int, float)) and self.eps >= 0):
            raise UsageError(f"eps of {self.name} must be a number >= 0 such as 8 / 255, got {self.eps!r}.")

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
