"""The boundary attack: a random walk along the decision border, by labels alone."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.keys import fold
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.border_normal import bell
from robustly.steps.counts import at_least_one
from robustly.steps.footholds import foothold, to_border
from robustly.steps.radii import unit
from robustly.steps.sizes import l2_size
from robustly.steps.spending import left, purse
from robustly.steps.walk import positive, rows_of
from robustly.steps.widths import Room, room
from robustly.threats.l2 import L2Ball

TO_BORDER = 0.005  # the bracket of the bisection at the start, as a share of the way
EVERY = 5  # of so many points asked, one is a step aside alone
ASIDE, INWARD = 0.5, 0.2  # the shares of steps aside, and of whole steps, that shall meet the goal
RATE = 0.1  # by how much a step size grows or shrinks with each answer, in logarithms
LONGEST_ASIDE, LONGEST_INWARD = 1.0, 0.5


class Walk(NamedTuple):
    """Where each row stands: z (B, ...), which meets the goal; its two step sizes, (B,), as shares of its distance from
    the input: aside, along the sphere, and inward; its purse."""

    z: Tensor
    aside: Tensor
    inward: Tensor
    purse: Tensor


@spec("attack", paper="Brendel, Rauber & Bethge 2018, arXiv:1712.04248", needs="labels", sets=("L2Ball",))
def boundary(
    queries: int = 5000, aside: float = 0.3, inward: float = 0.03, tries: int = 100, pool: Tensor | None = None
) -> Attack:
    """Random steps along the sphere around the input and a little inwards, kept while the goal is met.

    Each example has two step sizes, both shares of its distance. Every fifth point is a step along the sphere alone,
    which is not kept: if half of those meet the goal, the border is nearly flat at that size, so `aside` grows where
    more do and shrinks where fewer do. Of the whole steps a fifth shall meet the goal, and `inward` follows that. Both
    change a little with every answer; the authors' code waits for 100 and 30 answers, which a budget of
    1000 queries hardly pays.

    The walk starts at the point that the ledger already has (so `in_turn(transferred(...), boundary())` goes on where
    the transfer ended), else at one of `pool`, else at a random point, from which a short bisection leads to the
    border. It is in the domain, whatever eps is: least distances are found with eps = inf and an oracle that presses
    on; with a finite eps an example ends at its first point within. Examples for which no start was found are not asked
    further. What meets the goal is for the oracle's own goal to say.

    Args:
        queries: hard bound on the points asked an example, those of the start included.
        aside: the first step along the sphere, as a share of the distance.
        inward: the first step inwards, likewise.
        tries: most points asked for a start.
        pool: other examples to start from, (P, ...).

    Raises:
        UsageError: queries or tries < 1, a step size not above 0; when it runs, a set that isn't an l2 ball, an
            unbounded domain, or a pool of another shape or range.
    """
    at_least_one((queries, "queries"), (tries, "tries"))
    positive(aside, "aside")
    positive(inward, "inward")

    def attack(case: Case) -> None:
        space = room(case, "boundary", (L2Ball,))
        spent = purse(case, queries)
        z, found = foothold(case._replace(key=fold(case.key, 0)), space, min(tries, queries), pool)
        z = to_border(case, space.x, z, TO_BORDER, left(case, spent), where=found)
        one, key = z.new_ones(len(z)), case.key
        walk = Walk(z, aside * one, inward * one, spent)
        for index in range(queries):
            rows = (found & (left(case, walk.purse) > 0) & (l2_size(walk.z - space.x) > 0)).nonzero().squeeze(1)
            if not len(rows):
                return
            if len(rows) < len(key):
                case, space, walk = case.take(rows), rows_of(space, rows), rows_of(walk, rows)
                key, found = key[rows], found[rows]
            walk = _stepped(case._replace(key=fold(key, 1, index)), space, walk, alone=index % EVERY == 0)

    return attack


def _stepped(case: Case, space: Room, walk: Walk, alone: bool) -> Walk:
    """The walk after one more point was asked of each row; alone: a step aside only, which is not kept."""
    back = walk.z - space.x
    far, rows = l2_size(back), torch.arange(len(back), device=back.device)
    side = _within(space, space.x + _turned(case.key, back, far * walk.aside))
    if alone:
        met = case.oracle.hits(side, rows).met
        return walk._replace(aside=_adapted(walk.aside, met, ASIDE, LONGEST_ASIDE))
    change = side - space.x
    share = (far * (1 - walk.inward) / l2_size(change).clamp_min(torch.finfo(far.dtype).tiny)).clamp_max(1)
    point = _within(space, space.x + column(share, change) * change)
    met = case.oracle.hits(point, rows).met
    kept = torch.where(column(met, point), point, walk.z)
    return walk._replace(z=kept, inward=_adapted(walk.inward, met, INWARD, LONGEST_INWARD))


def _turned(key: Tensor, back: Tensor, length: Tensor) -> Tensor:
    """A change as long as `back` (B, ...), turned by a step of that length at a right angle to it."""
    way = unit(back)
    noise = bell(key, back.shape[1:])
    noise = unit(noise - column((noise * way).flatten(1).sum(1), way) * way)
    moved = back + column(length, noise) * noise
    return column(l2_size(back) / l2_size(moved), moved) * moved


def _adapted(size: Tensor, met: Tensor, wanted: float, longest: float) -> Tensor:
    """The step size (B,) after one more answer: it stays on average where the wanted share of answers is a hit."""
    return (size * torch.where(met, math.exp(RATE * (1 - wanted)), math.exp(-RATE * wanted))).clamp_max(longest)


def _within(space: Room, z: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(z, space.low), space.high)
