"""At most eps coordinates may change, each anywhere in the domain."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.threats.ball import Ball, NormThreat
from robustly.threats.linf import uniform_between


@dataclass(frozen=True)
class L0Ball(Ball):
    """The l0 ball; not convex, yet projection and linear maximum are exact: both keep the best coordinates."""

    def distance(self, z: Tensor) -> Tensor:
        return (z != self.x).flatten(1).sum(1).double()

    @property
    def radius(self) -> Tensor:
        """Float (B,): the widest range of a coordinate. eps is a number of coordinates and no length to step by."""
        return (self.high - self.low).flatten(1).amax(1)

    def project(self, z: Tensor) -> Tensor:
        """Exact: keep the changes that lose most if undone."""
        inside = self.clip(z)
        gain = (z - self.x).square() - (z - inside).square()
        return self._keep(inside, gain)

    def steepest(self, g: Tensor) -> Tensor:
        """The signs of the eps largest gradients: a step that changes no more coordinates than the set allows."""
        return torch.where(self._largest(g.abs()), g.sign(), 0)

    def linear_max(self, g: Tensor) -> Tensor:
        """Exact where the domain is bounded: the eps coordinates with the largest <g, change>, each at its bound."""
        best = torch.where(g > 0, self.high, torch.where(g < 0, self.low, self.x))
        return self._keep(best, g * (best - self.x))

    def box(self) -> tuple[Tensor, Tensor]:
        none = column(self.eps < 1, self.x)
        return torch.where(none, self.x, self.low).double(), torch.where(none, self.x, self.high).double()

    def sample(self, key: Tensor) -> Tensor:
        """As many coordinates as allowed, chosen at random, each uniform between its bounds."""
        rank = keys.uniform(keys.fold(key, 1), self.x.shape[1:]) * (self.high > self.low)
        return self._keep(self.clip(uniform_between(self, keys.fold(key, 2))), rank)

    def _keep(self, z: Tensor, value: Tensor) -> Tensor:
        """z on the eps coordinates of largest value, x elsewhere."""
        return torch.where(self._largest(value), z, self.x)

    def _largest(self, value: Tensor) -> Tensor:
        flat = value.flatten(1)
        rank = flat.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return (rank < self.eps.floor()[:, None]).view_as(value)


@dataclass(frozen=True)
class L0(NormThreat):
    """At most eps coordinates (numbers, not pixels of several channels) may change, anywhere within the domain."""

    ball = L0Ball
    name = "l0"

    def __post_init__(self) -> None:
        """Refuse half a coordinate."""
        super().__post_init__()
        if not isinstance(self.eps, Tensor) and self.eps != float("inf") and self.eps != int(self.eps):
            raise UsageError(f"eps of l0 is a whole number of coordinates, got {self.eps:g}.")
