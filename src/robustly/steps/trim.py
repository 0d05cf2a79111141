"""Fewer coordinates for the same answer: undo the changes that do least."""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.core.rows import column
from robustly.steps.types import Case


def trimmed(case: Case, z: Tensor, worth: Tensor, met: Tensor, tries: int) -> None:
    """Ask z (B, ...) with ever fewer of its changes: those of largest worth (B, ...), their number found by bisection.

    met: bool (B,), rows whose z meets the oracle's goal; the others are not asked. worth: what undoing a change is thought to
    cost, of any sign. At most `tries` forward passes a row. What is found is in the ledger.
    """
    x = case.around.x
    value = torch.where(z != x, worth, -torch.inf).flatten(1)
    rank = value.argsort(dim=1, descending=True, stable=True).argsort(dim=1).view_as(z)
    high = (z != x).flatten(1).sum(1)
    low = torch.zeros_like(high)
    for _ in range(tries):
        keep = (low + high) // 2
        due = met & (high - low > 1) & case.oracle.open
        if not due.any():
            return
        scores = case.oracle.scores(torch.where(rank < column(keep, z), z, x), due)
        hit = due & case.oracle.goal.met(scores)
        high, low = torch.where(hit, keep, high), torch.where(due & ~hit, keep, low)
