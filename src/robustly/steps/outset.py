"""How a walk along the border begins and goes on, by labels alone: which rows walk, from where, and for how long."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from robustly.core.keys import fold
from robustly.steps.footholds import Between, foothold, straight, to_border
from robustly.steps.spending import left, purse
from robustly.steps.types import Case
from robustly.steps.walk import rows_of
from robustly.steps.widths import Room


class Outset(NamedTuple):
    """The rows that have a start, with their bounds, their points on the border (B, ...), and their purse, int64 (B,)."""

    case: Case
    space: Room
    z: Tensor
    purse: Tensor


def set_out(
    case: Case,
    space: Room,
    queries: int,
    tries: int,
    pool: Tensor | None,
    tolerance: float,
    between: Between = straight,
) -> Outset:
    """A start for each row (see `foothold`), brought to the border; rows without one are left out.

    queries: most points that a row may ask from now on. tolerance: of the bisection, as a share of the way to the start.
    """
    spent = purse(case, queries)
    z, found = foothold(case._replace(key=fold(case.key, 0)), space, min(tries, queries), pool)
    rows = (found & (left(case, spent) > 0)).nonzero().squeeze(1)
    case, space, z, spent = case.take(rows), rows_of(space, rows), z[rows], spent[rows]
    if len(rows):
        z = to_border(case, space.x, z, tolerance, left(case, spent), between)
    return Outset(case, space, z, spent)


def going(case: Case, state: Any, purse: Tensor, where: Tensor | None = None) -> tuple[Case, Any, Tensor]:
    """The case, the state and the purse of the rows that may still ask (and that `where`, bool (B,), allows)."""
    may = left(case, purse) > 0
    rows = (may if where is None else may & where).nonzero().squeeze(1)
    if len(rows) == len(may):
        return case, state, purse
    return case.take(rows), rows_of(state, rows), purse[rows]


def fitted(space: Room, rows: Tensor, change: Tensor) -> Tensor:
    """The points (R, ...) of some rows for changes in units of the input, clipped to their bounds."""
    return (space.x[rows] + change).maximum(space.low[rows]).minimum(space.high[rows])
