"""What linear bounds must know of a nonlinear function: its range over a box, and two planes that enclose it there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

FINE = 2.0**-34
"""Relative allowance for our own float64 arithmetic: sums of up to 2^18 terms in any order, twice over."""


class Box(NamedTuple):
    """low <= value <= high, (B, *shape); NaN where nothing is known."""

    low: Tensor
    high: Tensor

    @property
    def size(self) -> Tensor:
        """The largest absolute value."""
        return torch.maximum(self.low.abs(), self.high.abs())

    def take(self, index: Tensor) -> Box:
        """Some rows."""
        return Box(self.low[index], self.high[index])

    def to(self, dtype: torch.dtype) -> Box:
        """In another dtype."""
        return Box(self.low.to(dtype), self.high.to(dtype))


class Planes(NamedTuple):
    """sum_i low[i] x_i + low_offset <= f(x) <= sum_i high[i] x_i + high_offset over a box.

    Slopes one a source; tensors (B, S, *shape), where S may be 1 for all specifications alike.
    """

    low: tuple[Tensor, ...]
    low_offset: Tensor
    high: tuple[Tensor, ...]
    high_offset: Tensor

    def take(self, index: Tensor) -> Planes:
        """Some rows."""
        return Planes(
            tuple(s[index] for s in self.low),
            self.low_offset[index],
            tuple(s[index] for s in self.high),
            self.high_offset[index],
        )


Boxes: TypeAlias = Sequence[Box]


class Rule(NamedTuple):
    """A function applied elementwise.

    value: the function. range: from boxes of its sources a box of its result. planes: from boxes and, where `start` is given,
    a choice in [0, 1] (B, S, *shape) among its planes, or None for the rule's own. loose: bool (B, *shape), one a
    source: which elements' planes would gain from a narrower box there, or None for none.
    """

    name: str
    value: Callable[..., Tensor]
    range: Callable[[Boxes], Box]
    planes: Callable[[Boxes, Tensor | None], Planes]
    loose: Callable[[Boxes], tuple[Tensor | None, ...]]
    start: Callable[[Boxes], Tensor] | None = None
    """The choice that `planes` makes on its own, (B, *shape); None where there is no choice."""
    switch: int | None = None
    """Which source the function has a kink at zero of."""
    lines: Callable[[Boxes], Planes] | None = None
    """From boxes a table of planes that a choice lies between, where `planes` works by one: it is the same for all choices."""


def added(parts: Iterable[Tensor]) -> Tensor:
    """The sum of one tensor or more."""
    return reduce(torch.add, parts)


def widened(planes: Planes, boxes: Boxes) -> Planes:
    """The planes moved apart by the rounding of their own arithmetic."""
    low, high = planes.low_offset.abs(), planes.high_offset.abs()
    for box, a, b in zip(boxes, planes.low, planes.high, strict=True):
        size = box.size.unsqueeze(1)
        low, high = low + a.abs() * size, high + b.abs() * size
    return planes._replace(low_offset=planes.low_offset - FINE * low, high_offset=planes.high_offset + FINE * high)
