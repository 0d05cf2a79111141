"""RayS: the nearest border along rays to the corners of a linf ball, by labels alone."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.counts import at_least_one
from robustly.steps.spending import left, purse
from robustly.steps.walk import rows_of
from robustly.steps.widths import Room, room
from robustly.threats.linf import LinfBall

NARROW = 1e-3  # how wide the bracket of a bisection is at last, in widths of the domain and l2 length


class Rays(NamedTuple):
    """The search of each row.

    way: the signs of the best ray, (B, ...); radius: (B,), where it meets the border, inf where none was found. tried:
    the signs of the ray that is asked now; low, high: (B,), its bracket; searching: bool (B,), that is being bisected.
    level, block: int64 (B,), the block of coordinates that comes next is the block-th of 2^level; at level -1 no sign
    is turned. idle: int64 (B,), rays of single coordinates since the best ray last changed. place: int64 (B, ...), the number of each coordinate among the `free` (B,) that the row may change, -1
    for the others.
    """

    way: Tensor
    radius: Tensor
    tried: Tensor
    low: Tensor
    high: Tensor
    searching: Tensor
    level: Tensor
    block: Tensor
    idle: Tensor
    place: Tensor
    free: Tensor
    purse: Tensor


@spec("attack", paper="Chen & Gu 2020, arXiv:2006.12792", needs="labels", sets=("LinfBall",))
def rays(queries: int = 5000) -> Attack:
    """Turn the signs of one block of coordinates at a time, and keep the ray if it meets the border nearer.

    The blocks are halved with every round through all coordinates, down to single ones. A ray is asked at the best
    radius so far; only if that meets the goal a bisection follows. It needs no size of step, no random
    number and no start: at first the radius is infinite, so that the corners of the domain are asked. Where the ledger has a
    point already, the ray towards it is asked first (so `in_turn(transferred(...), rays())` goes on where the transfer
    ended); points for a start, random or other examples, would not give a better ray, and none are asked.

    The walk is in the domain, whatever eps is: least distances are found with eps = inf and an oracle that presses on;
    with a finite eps an example ends at its first point within. What a mask forbids is in no block. A round through the
    single coordinates that found nothing nearer ends it: the next would ask the same points. What meets the goal is for
    the oracle's own goal to say.

    Args:
        queries: hard bound on the points asked an example.

    Raises:
        UsageError: queries < 1; when it runs, a set that isn't a linf ball, or an unbounded domain.
    """
    at_least_one((queries, "queries"))

    def attack(case: Case) -> None:
        space = room(case, "rays", (LinfBall,))
        state = _begun(case, space, queries)
        for _ in range(queries):
            rows = ((left(case, state.purse) > 0) & (state.idle < state.free)).nonzero().squeeze(1)
            if not len(rows):
                return
            if len(rows) < len(case.key):
                case, space, state = case.take(rows), rows_of(space, rows), rows_of(state, rows)
            state = _asked(case, space, state)

    return attack


def _begun(case: Case, space: Room, queries: int) -> Rays:
    """The search before the first query: the ray to the highest corner, or to the point that the ledger has."""
    ledger, rows = case.oracle.ledger, case.oracle.rows
    known, change = ledger.hit[rows], cast(Tensor, ledger.point)[rows] - space.x
    way = torch.where(column(known, change) & (change < 0), -1.0, 1.0).to(change.dtype)
    may = (space.high > space.low).flatten(1)
    place = torch.where(may, may.long().cumsum(1) - 1, -1).view_as(change)
    none = torch.full_like(change.flatten(1)[:, 0], torch.inf)
    first = torch.where(known, change.abs().flatten(1).amax(1), none)
    free = may.sum(1).clamp_min(1)
    level = torch.where(known | (free == 1), -1, 0)  # of one coordinate, both signs are to be asked
    return Rays(
        way, none, way, torch.zeros_like(first), first, torch.zeros_like(known), level, torch.zeros_like(level),
        torch.zeros_like(level), place, free, purse(case, queries),
    )  # fmt: skip


def _asked(case: Case, space: Room, state: Rays) -> Rays:
    """The search after one more query of each row: a new ray at the best radius, or the middle of a bracket."""
    size = (state.free + (1 << state.level.clamp_min(0)) - 1) >> state.level.clamp_min(0)
    start = state.block * size
    inside = (state.place >= column(start, state.place)) & (state.place < column(start + size, state.place))
    turned = torch.where(inside & column(state.level >= 0, inside), -state.way, state.way)
    tried = torch.where(column(state.searching, turned), state.tried, turned)
    at = torch.where(state.searching, (state.low + state.high) / 2, state.high)
    point = torch.minimum(torch.maximum(space.x + column(at, tried) * tried, space.low), space.high)
    met = case.oracle.hits(point, torch.arange(len(at), device=at.device)).met
    low = torch.where(state.searching & ~met, at, state.low)
    high = torch.where(state.searching & met, at, state.high)
    high = torch.where(met & ~state.searching, high.clamp_max(space.width), high)
    searching = torch.where(state.searching, high - low > NARROW * space.width / state.free.to(low.dtype).sqrt(), met)
    return _gone_on(state._replace(tried=tried, low=low, high=high, searching=searching), start + size, state.searching)


def _gone_on(state: Rays, end: Tensor, before: Tensor) -> Rays:
    """The search with the next block in the rows that are done with a ray; `end` (B,) is where the last block ended."""
    done = ~state.searching
    better = done & before & (state.high < state.radius)
    radius = torch.where(better, state.high, state.radius)
    lost = done & ~before & (state.level < 0)  # the ray to the ledger's point missed
    way = torch.where(column(better, state.way), state.tried, torch.where(column(lost, state.way), 1.0, state.way))
    through = done & ((state.level < 0) | (end >= state.free) | (state.block + 1 >= 1 << state.level.clamp_min(0)))
    finest = (state.free - 1).clamp_min(0).to(radius.dtype).add(0.5).log2().ceil().clamp_min(0).long()
    idle = torch.where(better | (state.level < finest), 0, state.idle + done.long())
    level = torch.where(through, torch.minimum(state.level + 1, finest), state.level)
    block = torch.where(through, 0, torch.where(done, state.block + 1, state.block))
    zero = torch.zeros_like(state.low)
    return state._replace(
        way=way, radius=radius, level=level, block=block, idle=idle, low=torch.where(done, zero, state.low),
        high=torch.where(done, radius, state.high),
    )  # fmt: skip
