"""Which numbers of the nodes before it a number of a convolution reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

Numbers = tuple[int, ...]


class Window(NamedTuple):
    """The number at place p of a target reads, in each dimension, `sides` numbers from stride * p + first on, of all channels."""

    stride: Numbers
    first: Numbers
    sides: Numbers

    def joined(self, other: Window) -> Window | None:
        """The least window that holds both; None where they move apart."""
        if self.stride != other.stride:
            return None
        first = tuple(min(a, b) for a, b in zip(self.first, other.first, strict=True))
        ends = (max(a + s, b + t) for a, s, b, t in zip(self.first, self.sides, other.first, other.sides, strict=True))
        return Window(self.stride, first, tuple(e - a for e, a in zip(ends, first, strict=True)))


class Local(NamedTuple):
    """A linear map whose result at place p of a dimension reads `reach` numbers from stride * p - padding on.

    backward: its transpose without padding: slopes (N, C, *sides) in a window as those (N, C', *sides) in the window before
    it. Empty tuples: place p reads place p alone.
    """

    backward: Callable[[Tensor], Tensor]
    stride: Numbers = ()
    padding: Numbers = ()
    reach: Numbers = ()

    def before(self, window: Window) -> Window:
        """What a window of results reads."""
        if not self.stride:
            return window
        return Window(
            tuple(a * s for a, s in zip(window.stride, self.stride, strict=True)),
            tuple(a * s - p for a, s, p in zip(window.first, self.stride, self.padding, strict=True)),
            tuple((n - 1) * s + r for n, s, r in zip(window.sides, self.stride, self.reach, strict=True)),
        )


class Windows(NamedTuple):
    """end: the nodes above it, down from a target, are passed by windows. at: the window of each that is reached so."""

    end: int
    at: dict[int, Window]
