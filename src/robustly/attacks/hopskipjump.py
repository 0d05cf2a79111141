"""HopSkipJump: along the decision border by labels alone, with the border's normal estimated from random directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.keys import fold
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.border_normal import Draw, bell, border_normal, even
from robustly.steps.counts import at_least_one
from robustly.steps.footholds import Between, clipped, foothold, straight, to_border
from robustly.steps.sizes import SIZES
from robustly.steps.spending import left, purse
from robustly.steps.walk import positive, rows_of
from robustly.steps.widths import Room, room
from robustly.threats.base import PerturbationSet
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall

FIRST = 0.1  # how far the first directions are asked, in widths of the domain
COARSE = 0.01  # the most that `theta * d^(1/2)` (l2) or `theta * d` (linf) may be: where there are few coordinates
FINE = 2.0**-20  # the least that a coordinate's noise is on average, in widths: finer noise drowns in float32
HALVINGS = 20  # of a step that never meets the goal again


class Manner(NamedTuple):
    """What differs between the norms.

    theta: the width of a bisection's bracket, for d coordinates (B,). reach: how far directions are asked, as a
    multiple of theta times the distance, for d coordinates.
    """

    draw: Draw
    between: Between
    step: Callable[[Tensor], Tensor]
    theta: Callable[[Tensor], Tensor]
    reach: Callable[[Tensor], Tensor]


MANNERS: dict[type[PerturbationSet], Manner] = {
    L2Ball: Manner(bell, straight, lambda normal: normal, lambda d: d**-1.5, torch.sqrt),
    LinfBall: Manner(even, clipped, torch.sign, lambda d: d**-2.0, lambda d: d),
}


class Walk(NamedTuple):
    """Where each row stands: z (B, ...) on the border; before, (B,), how far its last step had led before it came back
    to the border; theta and free, (B,), the width of its bisections and the coordinates it may change; its purse."""

    z: Tensor
    before: Tensor
    theta: Tensor
    free: Tensor
    purse: Tensor


@spec("attack", paper="Chen, Jordan & Wainwright 2020, arXiv:1904.02144", needs="labels", sets=("LinfBall", "L2Ball"))
def hopskipjump(
    queries: int = 5000, directions: int = 100, gamma: float = 1.0, tries: int = 100, pool: Tensor | None = None
) -> Attack:
    """Estimate the border's normal, step along it, halving the step until the goal is met, and go back to the border.

    The t-th step asks `directions` sqrt(t) random directions. The walk starts at the point that the ledger already has
    (so `in_turn(transferred(...), hopskipjump())` goes on where the transfer ended), else at one of `pool`, else at a
    random point. It is in the domain, whatever eps is: least distances are found with eps = inf and an oracle that
    presses on; with a finite eps an example ends at its first point within. Examples for which no start was found are not asked
    further. What meets the goal is for the oracle's own goal to say.

    Beside the paper: directions lie within the mask, whose coordinates count as d; where d < 100 the brackets are
    narrower, since the paper's grow to the whole way; noise is never so fine that float32 loses it; a step that 20
    halvings don't bring back to the goal is not taken; and the last estimate takes the queries that are left.

    Args:
        queries: hard bound on the points asked an example, those of the start included.
        directions: asked for the first estimate; the t-th takes sqrt(t) times as many.
        gamma: the brackets of the bisections are gamma d^(-3/2) (l2) or gamma d^(-2) (linf) of the way wide,
            and 0.01 d^(-1/2) or 0.01 / d at most.
        tries: most points asked for a start.
        pool: other examples to start from, (P, ...).

    Raises:
        UsageError: queries, directions or tries < 1, gamma not above 0; when it runs, a set that isn't a linf or l2
            ball, an unbounded domain, or a pool of another shape or range.
    """
    at_least_one((queries, "queries"), (directions, "directions"), (tries, "tries"))
    positive(gamma, "gamma")

    def attack(case: Case) -> None:
        space = room(case, "hopskipjump", tuple(MANNERS))
        spent = purse(case, queries)
        z, found = foothold(case._replace(key=fold(case.key, 0)), space, min(tries, queries), pool)
        index = (found & case.oracle.open).nonzero().squeeze(1)
        if len(index):
            case, space, z = case.take(index), rows_of(space, index), z[index]
            _walk(case, space, z, spent[index], directions, gamma)

    return attack


def _walk(case: Case, space: Room, z: Tensor, spent: Tensor, directions: int, gamma: float) -> None:
    """The steps from points that meet the goal."""
    manner = MANNERS[type(case.around)]
    far_of, key = SIZES[type(case.around)], case.key
    free = (space.high > space.low).flatten(1).sum(1).clamp_min(1).to(z.dtype)
    theta = torch.minimum(gamma * manner.theta(free), COARSE / manner.reach(free))
    z = to_border(case, space.x, z, theta, left(case, spent), manner.between)
    walk, index = Walk(z, far_of(z - space.x), theta, free, spent), 0
    while True:
        going = (left(case, walk.purse) > 0) & (far_of(walk.z - space.x) > 0)
        rows = going.nonzero().squeeze(1)
        if not len(rows):
            return
        case, space, walk, key = case.take(rows), rows_of(space, rows), rows_of(walk, rows), key[rows]
        index += 1
        walk = _stepped(case._replace(key=fold(key, index)), space, walk, manner, index, directions)


def _stepped(case: Case, space: Room, walk: Walk, manner: Manner, index: int, directions: int) -> Walk:
    """One step: estimate, leap, and return to the border (algorithm 2)."""
    far_of = SIZES[type(case.around)]
    far = far_of(walk.z - space.x)
    reach = FIRST * space.width if index == 1 else manner.reach(walk.free) * walk.theta * walk.before
    reach = torch.maximum(FINE * space.width * walk.free.sqrt(), torch.as_tensor(reach))
    normal = border_normal(case, space, walk.z, reach, _share(case, walk, index, directions), manner.draw)
    leapt = _leapt(case, space, walk, manner.step(normal), far / index**0.5)
    z = to_border(case, space.x, leapt, walk.theta, left(case, walk.purse), manner.between)
    return walk._replace(z=z, before=far_of(leapt - space.x))


def _share(case: Case, walk: Walk, index: int, directions: int) -> Tensor:
    """How many directions to ask, int64 (B,): `directions` sqrt(t), or what is left where it is not enough for more.

    What the step and the bisection will take is set aside.
    """
    spare = left(case, walk.purse) - 2 - (-walk.theta.log2()).ceil().long()
    wanted = int(directions * index**0.5)
    return torch.where(spare < 1.5 * wanted, spare, wanted).clamp_min(1).clamp_max(left(case, walk.purse))


def _leapt(case: Case, space: Room, walk: Walk, way: Tensor, size: Tensor) -> Tensor:
    """The first point along the way that meets the goal, its length halved from `size` (B,); z itself if none does."""
    out, looking = walk.z, torch.ones_like(size, dtype=torch.bool)
    for halving in range(HALVINGS):
        rows = (looking & (left(case, walk.purse) > 0)).nonzero().squeeze(1)
        if not len(rows):
            break
        length = column(size[rows] * 0.5**halving, way)
        tried = walk.z[rows] + length * way[rows]
        tried = torch.minimum(torch.maximum(tried, space.low[rows]), space.high[rows])
        hit = case.oracle.hits(tried, rows).met
        out, looking = out.index_copy(0, rows[hit], tried[hit]), looking.index_fill(0, rows[hit], False)
    return out
