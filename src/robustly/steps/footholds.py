"""Where a walk on labels alone begins: a point that meets the goal, and the way from it to the border."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.keys import fold, integers, permutation, uniform
from robustly.core.rows import column
from robustly.steps.counts import at_least_one
from robustly.steps.types import Case
from robustly.steps.widths import Room

SKEW = 4  # the powers of random points run from 2^-4 to 2^4

Between = Callable[[Tensor, Tensor, Tensor], Tensor]


def foothold(case: Case, space: Room, tries: int, pool: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A point of the domain that meets the oracle's goal, (B, ...), and for which rows there is one, bool (B,).

    In this order: the evidence that the ledger has, which costs nothing (so `in_turn(transferred(...), hopskipjump())`
    goes on where the transfer ended); the points of `pool`, which each row asks in an order of its own; random points
    of the domain. Every point is within the bounds of the mask, and one query. A row asks no further once it has
    a foothold, or has asked `tries` points. Where none was found the point is the input itself.

    Args:
        case: the rows; how they are asked.
        space: their bounds, see `steps.widths.room`.
        tries: most points a row asks, those of the pool included.
        pool: other examples, (P, ...), shaped as one input each; say the data, of which many carry other labels.

    Raises:
        UsageError: tries < 1, or a pool of another shape, or with values outside the domain.
    """
    at_least_one((tries, "tries"))
    ledger, rows = case.oracle.ledger, case.oracle.rows
    found = ledger.hit[rows]
    z = torch.where(column(found, space.x), cast(Tensor, ledger.point)[rows], space.x)
    others = _checked(pool, case, space)
    order = permutation(fold(case.key, 0), len(others)) if len(others) else None
    for index in range(tries):
        asked = (case.oracle.open & ~found).nonzero().squeeze(1)
        if not len(asked):
            break
        if order is not None and index < len(others):
            drawn = others[order[asked, index]]
        else:
            drawn = _random(case.key[asked], index, space, asked)
        drawn = torch.minimum(torch.maximum(drawn, space.low[asked]), space.high[asked])
        met = case.oracle.hits(drawn, asked).met
        hit = asked[met]
        z, found = z.index_copy(0, hit, drawn[met]), found.index_fill(0, hit, True)
    return z, found


def straight(near: Tensor, far: Tensor, share: Tensor) -> Tensor:
    """l2: the point (B, ...) that lies `share` (B,) of the way from `near` to `far`."""
    point = near + column(share, near) * (far - near)
    return torch.minimum(torch.maximum(point, torch.minimum(near, far)), torch.maximum(near, far))


def clipped(near: Tensor, far: Tensor, share: Tensor) -> Tensor:
    """linf: the point nearest to `far` with no coordinate further from `near` than `share` (B,) of the furthest."""
    reach = column(share * (far - near).abs().flatten(1).amax(1), near)
    return torch.minimum(torch.maximum(far, near - reach), near + reach)


def to_border(
    case: Case,
    near: Tensor,
    far: Tensor,
    tolerance: float | Tensor,
    most: int | Tensor,
    between: Between = straight,
    where: Tensor | None = None,
) -> Tensor:
    """The last point that met the goal in a bisection between a point that doesn't and one that does, (B, ...).

    Args:
        case: the rows; how they are asked.
        near: (B, ...), not meeting the goal (it isn't asked), say the inputs.
        far: (B, ...), meeting the goal; returned for the rows in which nothing nearer met it.
        tolerance: a number, or one a row (B,): how narrow the bracket shall be, as a share of the way from near to far.
        most: hard bound on the points a row asks, for all or one a row (B,).
        between: `straight` for l2, `clipped` for linf.
        where: bool (B,), the rows to ask; all by default.
    """
    high = near.new_ones(len(near))
    low = torch.zeros_like(high)
    least = torch.as_tensor(tolerance, dtype=high.dtype, device=high.device).clamp_min(torch.finfo(high.dtype).eps)
    asking = torch.ones_like(high, dtype=torch.bool) if where is None else where
    point, spent = far, 0
    while True:
        afford = spent < torch.as_tensor(most, device=high.device)
        due = asking & afford & case.oracle.open & (high - low > least)
        index = due.nonzero().squeeze(1)
        if not len(index):
            return point
        middle = (low + high) / 2
        tried = between(near[index], far[index], middle[index])
        met, asked = case.oracle.hits(tried, index)
        hit, missed = index[met], index[asked & ~met]
        point = point.index_copy(0, hit, tried[met])
        high, low = high.index_copy(0, hit, middle[hit]), low.index_copy(0, missed, middle[missed])
        asking = asking.index_fill(0, index[~asked], False)
        spent += 1


def _random(key: Tensor, index: int, space: Room, rows: Tensor) -> Tensor:
    """Random points between the bounds of some rows, (R, ...).

    Uniform, but every second one is raised to a power, from bright to dark: networks read all uniform noise alike,
    often as one class, whose own examples would find nothing.
    """
    low, high = space.low[rows], space.high[rows]
    noise = uniform(fold(key, 1, index), low.shape[1:])
    if index % 2:
        power = column(integers(fold(key, 2, index), 2 * SKEW + 1) - SKEW, noise)
        for step in range(SKEW):  # by squares and roots, whose last bits don't depend on the batch as those of pow do
            noise = torch.where(power > step, noise.square(), torch.where(power < -step, noise.sqrt(), noise))
    return low + noise * (high - low)


def _checked(pool: Tensor | None, case: Case, space: Room) -> Tensor:
    """The pool as points like the inputs, (P, ...); none where there is no pool."""
    if pool is None:
        return space.x[:0]
    if not isinstance(pool, Tensor):
        raise UsageError(f"a pool is a tensor of points, got {pool!r}; a record only names it, so give it anew.")
    domain = case.oracle.model.domain
    if pool.shape[1:] != space.x.shape[1:]:
        raise UsageError(
            f"a pool's points have the shape of one input, {tuple(space.x.shape[1:])}; got {tuple(pool.shape[1:])}."
        )
    pool = pool.to(space.x)
    outside = ~((pool >= domain.low) & (pool <= domain.high))
    if outside.any():
        row = int(outside.flatten(1).any(1).nonzero()[0])
        raise UsageError(f"point {row} of the pool has a value outside the range {domain} of the inputs, or NaN.")
    return pool
