"""A property as a frozen record in exact numbers: input boxes, and what a network must not answer in each.

All numbers are `Fraction`s, so what is checked is what the file says, to the last decimal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np


@dataclass(frozen=True)
class Row:
    """sum of coefficient * Y_index over `terms`, at most `most` (less than it, where strict)."""

    terms: tuple[tuple[int, Fraction], ...]
    most: Fraction
    strict: bool = False

    def holds(self, outputs: Iterable[float]) -> bool:
        """For outputs that are floats, without any rounding; what isn't finite holds nothing."""
        y = outputs if isinstance(outputs, (list, tuple)) else list(outputs)
        if not all(np.isfinite(y[k]) for k, _ in self.terms):
            return False
        value = sum((c * Fraction(float(y[k])) for k, c in self.terms), Fraction(0))
        return value < self.most if self.strict else value <= self.most


Polyhedron: TypeAlias = tuple[Row, ...]
"""Outputs that meet all the rows; no rows: all outputs."""


@dataclass(frozen=True)
class Region:
    """A box of inputs, and the polyhedra of outputs that are unsafe in it: meeting any one of them violates.

    lower, upper: one number an input, both ends inside. also: further such lists, for properties with more combinations than
    can be listed; then violating is to meet one of `unsafe` and one of each of these at once.
    """

    lower: tuple[Fraction, ...]
    upper: tuple[Fraction, ...]
    unsafe: tuple[Polyhedron, ...]
    also: tuple[tuple[Polyhedron, ...], ...] = ()

    @property
    def empty(self) -> int | None:
        """The first input whose lower end is above its upper, or None."""
        return next((i for i, (a, b) in enumerate(zip(self.lower, self.upper, strict=True)) if a > b), None)

    def contains(self, inputs: Iterable[float]) -> bool:
        """Whether the floats are in the box, without any rounding."""
        values = [float(v) for v in inputs]
        if len(values) != len(self.lower) or not all(map(np.isfinite, values)):
            return False
        return all(a <= Fraction(v) <= b for a, v, b in zip(self.lower, values, self.upper, strict=True))

    def violated(self, outputs: Iterable[float]) -> bool:
        """Whether outputs lie in an unsafe polyhedron, and in one of each further list, without any rounding."""
        y = [float(v) for v in outputs]
        return all(any(all(row.holds(y) for row in one) for one in some) for some in (self.unsafe, *self.also))


@dataclass(frozen=True)
class Property:
    """Inputs and outputs that are declared, and the regions; a counterexample lies in one and violates there.

    notes: what a reader should know, such as boxes that are empty.
    """

    inputs: int
    outputs: int
    regions: tuple[Region, ...]
    notes: tuple[str, ...] = ()


def outward(region: Region) -> tuple[np.ndarray, np.ndarray]:
    """float64 (lower, upper), the nearest around the box: for bounds."""
    return _rounded(region.lower, np.float64, -1), _rounded(region.upper, np.float64, 1)


def inward(region: Region) -> tuple[np.ndarray, np.ndarray]:
    """float32 (lower, upper), the nearest inside the box: for counterexamples. Lower > upper where no float32 is inside."""
    return _rounded(region.lower, np.float32, 1), _rounded(region.upper, np.float32, -1)


def _rounded(values: tuple[Fraction, ...], kind: type[np.floating], direction: int) -> np.ndarray:
    """Each number rounded up (direction 1) or down (-1) to a float of this kind.

    Rounding to float64 is monotone, so where the float of `kind` differs from the nearest float64, it lies on the same
    side of the number itself; where they are equal the exact difference decides.
    """
    near = np.array([float(v) for v in values], dtype=np.float64)
    rest = np.array([(v > (f := Fraction(n))) - (v < f) for v, n in zip(values, near.tolist(), strict=True)])
    out = near.astype(kind)
    side = np.where(out == near, rest, np.sign(near - out.astype(np.float64)))  # of the number, seen from `out`
    toward = np.full_like(out, direction * np.inf)
    return np.where(side * direction > 0, np.nextafter(out, toward), out).astype(kind)
