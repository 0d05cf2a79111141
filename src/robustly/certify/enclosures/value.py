"""Boxes around what a float32 network computes, and the widening that rounding asks for.

Bounds are float64 and enclose the *computed* float32 numbers, not only the exact ones. A sum of n products, computed in
any order and with fused operations or without, is off by at most gamma_n sum|w_i x_i|, where
gamma_n = n u / (1 - n u) and u = 2^-24
(Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1). `SAFETY` doubles it, which also pays for the
float64 rounding of the bounds, 2^29 times finer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

UNIT = 2.0**-24
SAFETY = 2.0
TINY = 2.0**-126
"""The least normal float32: what flushing or a denormal result can lose."""
LARGE = 1e37
"""Numbers beyond this may overflow float32 on the way, so nothing is claimed of them."""


@dataclass(frozen=True)
class Image:
    """A value that is an affine image of a norm ball, one coordinate from one: centre + scale * d + e, |e| <= error.

    centre, error: float64 (B, ...). scale: float64 (1, ...) >= 0. norm: "l2", "l1" or "l0". eps: float64 (B,), the
    length of d. room: float64 (B,), the most that one coordinate of d can be.
    """

    centre: Tensor
    scale: Tensor
    error: Tensor
    norm: str
    eps: Tensor
    room: Tensor

    def take(self, index: Tensor) -> Image:
        """Some rows."""
        return Image(self.centre[index], self.scale, self.error[index], self.norm, self.eps[index], self.room[index])


@dataclass(frozen=True)
class Interval:
    """lower, upper: float64 (B, ...), NaN where nothing is known. images: further enclosures of the same value."""

    lower: Tensor
    upper: Tensor
    images: tuple[Image, ...] = ()

    @property
    def shape(self) -> torch.Size:
        """The shape of the value, (B, ...)."""
        return self.lower.shape

    @property
    def size(self) -> Tensor:
        """The largest absolute value, elementwise."""
        return torch.maximum(self.lower.abs(), self.upper.abs())

    def halves(self) -> tuple[Tensor, Tensor]:
        """Centre and radius; their float64 rounding is far below what `SAFETY` adds."""
        return (self.lower + self.upper) / 2, (self.upper - self.lower) / 2

    def take(self, index: Tensor) -> Interval:
        """Some rows."""
        return Interval(self.lower[index], self.upper[index], tuple(i.take(index) for i in self.images))

    def moved(self, f: Callable[[Tensor], Tensor]) -> Interval:
        """The same numbers in another arrangement of the coordinates of a row; `f` loses and repeats none."""
        images = tuple(replace(i, centre=f(i.centre), scale=f(i.scale), error=f(i.error)) for i in self.images)
        return Interval(f(self.lower), f(self.upper), images)

    def selected(self, f: Callable[[Tensor], Tensor]) -> Interval:
        """A monotone function that float32 computes exactly: a choice among coordinates, a maximum, a clamp."""
        return Interval(f(self.lower), f(self.upper))


def gamma(n: int) -> float:
    """Higham's gamma_n with the safety factor: infinite where n is too large for the bound to hold."""
    k = SAFETY * n * UNIT
    return k / (1 - k) if k < 1 else float("inf")


def between(lower: Tensor, upper: Tensor, error: Tensor, images: tuple[Image, ...] = ()) -> Interval:
    """[lower - error, upper + error]; NaN where float32 may overflow."""
    lower, upper = lower - error, upper + error
    fine = (lower > -LARGE) & (upper < LARGE)
    return Interval(torch.where(fine, lower, torch.nan), torch.where(fine, upper, torch.nan), images)


def scaled(x: Interval, alpha: Tensor, beta: Tensor, error: Tensor) -> Interval:
    """alpha * x + beta with constants that broadcast within a row, each result off by at most `error`."""
    one, two = alpha * x.lower + beta, alpha * x.upper + beta
    images = tuple(
        replace(
            i,
            centre=alpha * i.centre + beta,
            scale=(alpha.abs() * i.scale).expand(1, *x.shape[1:]),
            error=alpha.abs() * i.error + error,
        )
        for i in x.images
    )
    return between(torch.minimum(one, two), torch.maximum(one, two), error, images)
