"""A property as questions to a network: every pair of an input box and an unsafe polyhedron in it."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from robustly.certify.questions import Questions
from robustly.core.errors import UsageError
from robustly.verifying.properties import Polyhedron, Property, Region, inward, outward


def questions_of(wanted: Property) -> tuple[Questions, Tensor, Tensor]:
    """The questions, and float32 (Q, n) the nearest ends inside of each box, for counterexamples.

    A row is multiplied by the common denominator of its coefficients, which makes them integers, so that float64 holds them
    exactly; its offset is rounded down.

    Raises:
        UsageError: coefficients with more digits than that.
    """
    pairs = [(region, polyhedron) for region in wanted.regions for polyhedron in region.unsafe]
    inside = {id(region): inward(region) for region in wanted.regions}
    around = {id(region): outward(region) for region in wanted.regions}
    count = max((len(polyhedron) for _, polyhedron in pairs), default=1) or 1
    rows = np.zeros((len(pairs), count, wanted.outputs))
    offsets = np.zeros((len(pairs), count))
    for q, (_, polyhedron) in enumerate(pairs):
        rows[q], offsets[q] = _matrix(polyhedron, count, wanted.outputs)

    def stacked(ends: dict[int, tuple[np.ndarray, np.ndarray]], side: int) -> Tensor:
        if len(ends) == 1 and pairs:  # all of one box: no copies of it
            return torch.from_numpy(ends[id(pairs[0][0])][side]).expand(len(pairs), -1)
        found = [ends[id(region)][side] for region, _ in pairs]
        return torch.from_numpy(np.stack(found)) if found else torch.zeros(0, wanted.inputs)

    questions = Questions(
        stacked(around, 0).double(), stacked(around, 1).double(), torch.from_numpy(rows), torch.from_numpy(offsets)
    )
    return questions, stacked(inside, 0).float(), stacked(inside, 1).float()


def _matrix(polyhedron: Polyhedron, count: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    matrix, offsets = np.zeros((count, outputs)), np.zeros(count)
    if not polyhedron:  # all outputs are unsafe: 0 y - 1 <= 0
        return matrix, offsets - 1
    for r in range(count):
        row = polyhedron[min(r, len(polyhedron) - 1)]
        scale = math.lcm(*(c.denominator for _, c in row.terms))
        for k, c in row.terms:
            value = c * scale
            matrix[r, k] = float(value)
            if Fraction(matrix[r, k]) != value:
                raise UsageError(
                    f"the coefficients of Y_{k} in a constraint need more digits than a float64 has. Write fewer digits."
                )
        offset = -row.most * scale
        near = float(offset)
        offsets[r] = near if Fraction(near) <= offset else math.nextafter(near, -math.inf)
    return matrix, offsets


def without_floats(region: Region) -> int | None:
    """An input of which no float32 lies between its ends, or None."""
    low, high = inward(region)
    found = np.flatnonzero(low > high)
    return int(found[0]) if len(found) else None
