"""A smaller set to look for evidence in, within the one that the ledger is about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from robustly.core.rows import Batch, take
from robustly.oracle.reading import Reading
from robustly.threats.base import PerturbationSet


@dataclass(frozen=True)
class Window:
    """What was found in a set of N rows, seen from R of them.

    around: the set of the R rows. seats: int64 (R,), which of the N they are. firm: bool (N,), evidence that rounding
    cannot undo was found. distance: float64 (N,), the least of it, infinite where there is none.
    """

    around: PerturbationSet
    seats: Tensor
    firm: Tensor
    distance: Tensor

    def take(self, index: Tensor) -> Self:
        """Seen from some of the R rows."""
        return replace(self, around=self.around.take(index), seats=self.seats[index])

    def note(self, local: Tensor, z: Batch, reading: Reading) -> None:
        """Enter points asked that belong to some of the R rows."""
        where = reading.firm.nonzero().squeeze(1)
        if not len(where):
            return
        where = where[self.around.take(local[where]).contains(take(z, where))]
        at, points = local[where], take(z, where)
        self.firm[self.seats[at]] = True
        self.distance.scatter_reduce_(0, self.seats[at], self.around.take(at).distance(points), "amin")


def window(around: PerturbationSet, device: torch.device) -> Window:
    """A window in which nothing was found yet."""
    seats = torch.arange(len(around), device=device)
    nothing = torch.full((len(seats),), float("inf"), dtype=torch.float64, device=device)
    return Window(around, seats, torch.zeros(len(seats), dtype=torch.bool, device=device), nothing)
