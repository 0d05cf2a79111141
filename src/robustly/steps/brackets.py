"""Searches by labels alone along a curve of points, each example in a bracket of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.steps.spending import left
from robustly.steps.types import Case

Curve = Callable[[Tensor, Tensor], Tensor]
"""The points (R, ...) of some rows, int64 (R,), at places (R,) of their curves."""
ROUNDS = 64  # of a bisection: float32 has no more halves than that


class Bracket(NamedTuple):
    """Places on a curve, both (B,): one that met the goal, and one that didn't."""

    met: Tensor
    missed: Tensor


def bisect(case: Case, curve: Curve, bracket: Bracket, width: Tensor, purse: Tensor, where: Tensor) -> Bracket:
    """The bracket, halved until it is at most `width` (B,) wide, in the rows `where`, bool (B,), within their purse.

    A halving asks one point.
    """
    met, missed = bracket
    for _ in range(ROUNDS):
        middle = (met + missed) / 2
        wide = ((met - missed).abs() > width) & (middle != met) & (middle != missed)
        rows = (where & wide & (left(case, purse) > 0)).nonzero().squeeze(1)
        if not len(rows):
            break
        hit = case.oracle.hits(curve(rows, middle[rows]), rows).met
        met = met.index_copy(0, rows[hit], middle[rows[hit]])
        missed = missed.index_copy(0, rows[~hit], middle[rows[~hit]])
    return Bracket(met, missed)


def until(
    case: Case, curve: Curve, places: Tensor, purse: Tensor, where: Tensor, hit: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Ask the places (B, L) of each row in turn, until one meets the goal (hit) or one doesn't (not hit).

    Returns:
        The index of that place, int64 (B,), or of the last that was asked; whether there was one, bool (B,); how many
        were asked, int64 (B,).
    """
    found, asked = torch.zeros_like(where), torch.zeros(len(where), dtype=torch.int64, device=where.device)
    for turn in range(places.shape[1]):
        rows = (where & ~found & (left(case, purse) > 0)).nonzero().squeeze(1)
        if not len(rows):
            break
        met = case.oracle.hits(curve(rows, places[rows, turn]), rows).met
        found = found.index_fill(0, rows[met == hit], True)
        asked = asked.index_add(0, rows, torch.ones_like(rows))
    return (asked - 1).clamp_min(0), found, asked
