"""What a perturbation set is, and the three readings of one.

An attacker needs points inside (any subset will do), a certifier a bound from outside (any superset will do), the judge
membership as it is. So `project`, `sample` and `moves` land inside, `support` and `box` enclose, and `contains` is
written on its own, in float64: it is the definition. An inexact projection then only weakens an attack.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from robustly.core.rows import Batch


@dataclass(frozen=True)
class Domain:
    """The range the model's inputs live in before any normalisation; infinite where there is none."""

    low: float = float("-inf")
    high: float = float("inf")

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]"


class PerturbationSet(ABC):
    """All that the attacker may turn the B inputs `x` into."""

    x: Any  # a tensor or texts, like every z below

    @abstractmethod
    def contains(self, z: Any) -> Tensor:
        """Bool (B,): is z_i a member of the set around x_i? Computed in float64, with no tolerance."""

    @abstractmethod
    def distance(self, z: Any) -> Tensor:
        """Float64 (B,): how far z_i is from x_i, in the threat's own measure."""

    @abstractmethod
    def sample(self, key: Tensor) -> Any:
        """A random member a row; `key` (B, 2)."""

    @abstractmethod
    def take(self, index: Tensor) -> Self:
        """The sets of some rows."""

    def __len__(self) -> int:
        return len(self.x)


class Smooth(PerturbationSet):
    """A set of float tensors in which an ascent can walk."""

    x: Tensor

    @property
    @abstractmethod
    def radius(self) -> Tensor:
        """Float (B,): eps in the measure of `steepest`; what step sizes are fractions of."""

    @property
    def walk(self) -> Smooth:
        """The set an ascent moves in; its points are projected into this one before they are asked. Itself, but for sets
        with gaps, in which small steps would get stuck."""
        return self

    @abstractmethod
    def project(self, z: Tensor) -> Tensor:
        """A member near z (B, ...); for a `Convex` set the nearest one in l2."""

    @abstractmethod
    def steepest(self, g: Tensor) -> Tensor:
        """The direction of unit length in the set's norm along which a linear function with gradient g rises fastest."""


@runtime_checkable
class Sized(Protocol):
    """A set that has a radius to move: a ball, the grid in one, or two balls, of which the first one's is moved."""

    @property
    def core(self) -> Any:
        """The ball that measures distance."""
        ...

    @property
    def eps(self) -> Tensor:
        """Float64 (B,), the radius of that ball."""
        ...

    def resized(self, eps: Tensor) -> Any:
        """The set of another radius, float64 (B,), otherwise the same."""
        ...


class Convex(Smooth):
    """A set that a certifier can bound (the l0 ball is not convex, but answers the same questions exactly)."""

    @abstractmethod
    def linear_max(self, g: Tensor) -> Tensor:
        """A member that maximises <g, z>."""

    @abstractmethod
    def box(self) -> tuple[Tensor, Tensor]:
        """Float64 (low, high), each (B, ...): encloses the set."""

    @abstractmethod
    def support(self, g: Tensor) -> Tensor:
        """Float64 (B,): at least max <g, z> over the set, for g (B, ...)."""


class Finite(PerturbationSet):
    """A discrete set (characters, words, tokens), explored by moves.

    most: int64 (B,), how many moves lead from x to the edge of the set.
    """

    most: Tensor

    @abstractmethod
    def moves(self, z: Batch, key: Tensor, count: int) -> tuple[Batch, Tensor]:
        """Up to `count` members a row that are one edit away from z: (candidates (M,), owner int64 (M,))."""

    def beside(self, z: Batch, near: Batch, key: Tensor, count: int) -> tuple[Batch, Tensor]:
        """The same, preferably where `near` differs from z, for a search that found something there."""
        return self.moves(z, key, count)


@runtime_checkable
class Threat(Protocol):
    """What the attacker may change, before any data: frozen, with a text form that `threats.parse` reads back."""

    def at(self, x: Batch, domain: Domain) -> PerturbationSet:
        """The set around a batch.

        Raises:
            UsageError: the threat cannot stand around such inputs (a norm ball around texts, an x outside the domain).
        """
        ...

    def __str__(self) -> str: ...


def repeat(value: float | Tensor, x: Tensor) -> Tensor:
    """A number, or one a row, as float64 (B,)."""
    return torch.as_tensor(value, dtype=torch.float64, device=x.device).expand(len(x))
