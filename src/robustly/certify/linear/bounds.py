"""Bounds on linear functions of a network's output: what certifiers, branch and bound and verifiers call."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from robustly.certify.enclosures.value import LARGE
from robustly.certify.linear.backward import Line, Multipliers, Slopes, backward, relax
from robustly.certify.linear.crown import ROOM
from robustly.certify.linear.enclosure import Enclosure, Splits
from robustly.certify.linear.program import Program
from robustly.certify.linear.region import Region


@dataclass(frozen=True)
class Specs:
    """S linear functions a row of a program's output: <weights[b, s], output> + constants[b, s].

    weights: float64 (B, S, *output shape). constants: float64 (B, S).
    """

    weights: Tensor
    constants: Tensor

    def __len__(self) -> int:
        return len(self.weights)

    def take(self, index: Tensor) -> Specs:
        """Some rows."""
        return Specs(self.weights[index], self.constants[index])

    def some(self, first: int, last: int) -> Specs:
        """Some functions of each row."""
        return Specs(self.weights[:, first:last], self.constants[:, first:last])


def bounds(
    program: Program,
    region: Region,
    enclosure: Enclosure,
    specs: Specs,
    slopes: Slopes | None = None,
    splits: Splits | None = None,
    multipliers: Multipliers | None = None,
) -> tuple[Tensor, Line]:
    """Lower bounds (B, S), float64, on the specs over the region, and the lines at the input that they come from.

    They hold for what float32 computes (see `enclosure`): -inf where nothing is known, +inf where the enclosure is empty.
    `enclosure` must have taken in the splits (`crown(..., splits=)` or `Enclosure.split`). slopes and multipliers may be
    anything in their range, found in any precision: every choice is sound.
    """
    lines = []
    widest = max(prod(n.shape) for n in program.nodes)
    some = max(1, ROOM // max(1, widest * len(specs)))
    planes = relax(program, enclosure, slopes)
    count = specs.weights.shape[1]
    for first in range(0, count, some):
        part = specs.some(first, first + some)
        chosen = planes if slopes is None or count <= some else relax(program, enclosure, _cut(slopes, first, some))
        paid = None if multipliers is None else _cut(multipliers, first, some)
        lines.append(
            backward(program, chosen, enclosure.rounding, part.weights, part.constants, splits=splits, multipliers=paid)
        )
    line = Line(torch.cat([one.slope for one in lines], 1), torch.cat([one.offset for one in lines], 1))
    return settled(line.least(region), enclosure), line


def settled(lower: Tensor, enclosure: Enclosure) -> Tensor:
    """Bounds with -inf for unknown (NaN) and +inf for rows in which nothing is left."""
    lower = torch.where(torch.isnan(lower) | (lower.abs() > LARGE), -torch.inf, lower)
    if not enclosure.boxes:
        return lower
    return torch.where(enclosure.empty[:, None], torch.inf, lower)


def _cut(slopes: Slopes, first: int, some: int) -> Slopes:
    """Those of some functions, where they are not the same for all."""
    return {k: v if v.shape[1] == 1 else v[:, first : first + some] for k, v in slopes.items()}
