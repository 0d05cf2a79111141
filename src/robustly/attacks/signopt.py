"""Sign-OPT: descend on the distance of the border along a direction, by the signs of its slopes, by labels alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.keys import fold
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.border_normal import AT_ONCE, bell
from robustly.steps.brackets import Bracket, Curve, bisect, until
from robustly.steps.counts import at_least_one
from robustly.steps.footholds import Between, clipped, straight
from robustly.steps.outset import fitted, going, set_out
from robustly.steps.sizes import SIZES
from robustly.steps.spending import left
from robustly.steps.walk import positive
from robustly.steps.widths import Room, room
from robustly.threats.base import PerturbationSet
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall

KINDS: dict[type[PerturbationSet], Between] = {L2Ball: straight, LinfBall: clipped}
TRIALS = 15  # step sizes tried upwards, then downwards
SHORTER = (
    0.01  # how much shorter than the last border the first look for the next one is; then twice as much, and so on
)
LOOKS = 7
FINE = 500  # the bisections are so many times finer than the directions are asked apart
STILL = 1e-4  # of a step below which the walk stands still, so that directions are asked ten times nearer
NEAREST = 1e-5  # share of the length of a direction: nearer ones drown in float32


Size = Callable[[Tensor], Tensor]
"""The norm (B,) of changes (B, ...)."""


class Walk(NamedTuple):
    """Where each row stands: way (B, ...), a direction of length 1 in the set's norm; far (B,), the border along it, in units
    of the input; rate (B,), the step; near (B,), how far from the way directions are asked."""

    way: Tensor
    far: Tensor
    rate: Tensor
    near: Tensor


@spec("attack", paper="Cheng et al. 2020, arXiv:1909.10773", needs="labels", sets=("LinfBall", "L2Ball"))
def signopt(
    queries: int = 5000,
    directions: int = 200,
    rate: float = 0.2,
    near: float = 0.001,
    tries: int = 100,
    pool: Tensor | None = None,
) -> Attack:
    """Descend on g(w), the distance of the border along w: one query tells whether g is less at a direction near by.

    An estimate of the slope is the mean of `directions` random ones, signed by whether the goal is met at distance g(w)
    along w + near u. The step along it is doubled while g falls, else divided by 4 until it does; then g is found
    by bisection. Where no step helps, directions are asked ten times nearer. The norm is the set's, as in the authors' code.

    The walk starts at the point that the ledger already has, else at one of `pool`, else at a random point, and takes over
    any of `tries` random directions (a tenth of the budget at most) along which the border is nearer; examples without
    a start are not asked further. It is in the domain, whatever eps is: least distances are found with eps = inf and an
    oracle that presses on; with a finite eps an example ends at its first point within.

    Beside the paper: a direction that misses the goal at the distance of the best is no better, so its own distance isn't
    searched for; and that of a better one is looked for 1 %, 2 %, 4 % nearer and so on, where the authors take steps of 1 %.

    Args:
        queries: hard bound on the points asked an example, those of the start included.
        directions: asked for each slope.
        rate: the first step, for a way and directions of length 1.
        near: how far from the way directions are asked, as a share of its length.
        tries: most points asked for a start, and random directions compared with it.
        pool: other examples to start from, (P, ...).

    Raises:
        UsageError: queries, directions or tries < 1, rate or near not above 0; when it runs, a set that isn't a linf or l2
            ball, an unbounded domain, or a pool of another shape or range.
    """
    at_least_one((queries, "queries"), (directions, "directions"), (tries, "tries"))
    for value, what in ((rate, "rate"), (near, "near")):
        positive(value, what)

    def attack(case: Case) -> None:
        space = room(case, "signopt", tuple(KINDS))
        case, space, z, purse = set_out(case, space, queries, tries, pool, near / FINE, KINDS[type(case.around)])
        size = SIZES[type(case.around)]
        far = size(z - space.x)
        walk = Walk(_one_long(z - space.x, size), far, torch.full_like(far, rate), torch.full_like(far, near))
        case, (space, walk), purse = going(case, (space, walk), purse, far > 0)
        if not len(purse):
            return
        walk = _compared(case, space, walk, min(tries, queries // 10), size, purse)
        index = 0
        while True:
            case, (space, walk), purse = going(case, (space, walk), purse, (walk.far > 0) & (walk.near > NEAREST))
            if not len(purse):
                return
            index += 1
            slope = _slope(case._replace(key=fold(case.key, index)), space, walk, directions, size, purse)
            walk = _descended(case, space, walk, slope, size, purse)

    return attack


def _one_long(way: Tensor, size: Size) -> Tensor:
    return way / column(size(way).clamp_min(torch.finfo(way.dtype).tiny), way)


def _compared(case: Case, space: Room, walk: Walk, tries: int, size: Size, purse: Tensor) -> Walk:
    """The best of the way and of some random directions."""
    free = (space.high > space.low).to(walk.way.dtype)
    every = torch.ones_like(case.goal.y, dtype=torch.bool)
    for index in range(tries):
        noise = bell(fold(case.key, 0, 1, index), tuple(free.shape[1:])) * free
        walk, _ = _if_better(case, space, walk, _one_long(noise, size), purse, every)
    return walk


def _if_better(case: Case, space: Room, walk: Walk, way: Tensor, purse: Tensor, where: Tensor) -> tuple[Walk, Tensor]:
    """The walk, turned to another way where the goal is met along it at the distance of the border or nearer; and where."""

    def curve(rows: Tensor, far: Tensor) -> Tensor:
        return fitted(space, rows, column(far, way[rows]) * way[rows])

    _, better, _ = until(case, curve, walk.far[:, None], purse, where, hit=True)
    far = _nearer(case, curve, walk.far, walk.near / FINE, purse, better)
    better = better & (far < walk.far)
    return walk._replace(
        way=torch.where(column(better, way), way, walk.way), far=torch.where(better, far, walk.far)
    ), better


def _nearer(case: Case, curve: Curve, far: Tensor, fine: Tensor, purse: Tensor, where: Tensor) -> Tensor:
    """The border (B,) along a way, which meets the goal at `far`: where a look ever shorter first misses, then bisected."""
    shares = 1 - SHORTER * 2.0 ** torch.arange(LOOKS, device=far.device)
    places = far[:, None] * torch.cat((shares.new_ones(1), shares, shares.new_zeros(1))).to(far)
    place, missed, asked = until(case, curve, places[:, 1:-1], purse, where, hit=False)
    met = places.gather(1, torch.where(missed, place, asked)[:, None])[:, 0]
    short = places.gather(1, torch.where(missed, place, asked)[:, None] + 1)[:, 0]
    return bisect(case, curve, Bracket(met, short), fine * far, purse, where).met


def _slope(case: Case, space: Room, walk: Walk, directions: int, size: Size, purse: Tensor) -> Tensor:
    """The mean of random directions signed by whether g rises along them, (B, ...) (eq. 4 and 5)."""
    shape, counts = walk.way.shape[1:], left(case, purse).clamp_max(directions)
    chunk = max(1, min(64, AT_ONCE // shape.numel()))
    free, low, high = ((space.high > space.low).to(walk.way.dtype)[:, None], space.low[:, None], space.high[:, None])
    wide, total = (len(counts), chunk, *(1,) * len(shape)), torch.zeros_like(walk.way)
    for first in range(0, directions, chunk):
        noise = bell(fold(case.key, first), (chunk, *shape)) * free
        way = _one_long(noise.flatten(0, 1), size).view_as(noise)
        aside = walk.way[:, None] + walk.near.view(-1, 1, *wide[2:]) * way
        aside = _one_long(aside.flatten(0, 1), size).view_as(noise)
        point = (space.x[:, None] + walk.far.view(-1, 1, *wide[2:]) * aside).maximum(low).minimum(high)
        place = (first + torch.arange(chunk, device=counts.device) < counts[:, None]).flatten().nonzero().squeeze(1)
        met, asked = case.oracle.hits(point.flatten(0, 1)[place], place // chunk)
        sign = torch.where(met, -1.0, 1.0).to(noise) * asked
        total = total + (noise.new_zeros(wide[0] * chunk).index_copy(0, place, sign).view(wide) * way).sum(1)
    return total / column(counts.clamp_min(1), total)


def _descended(case: Case, space: Room, walk: Walk, slope: Tensor, size: Size, purse: Tensor) -> Walk:
    """The line search: ever longer steps from the way while they help, else ever shorter ones until one does."""
    way, where = walk.way, torch.ones_like(case.goal.y, dtype=torch.bool)
    none = torch.zeros_like(where)
    for trial in range(2 * TRIALS):
        if trial == TRIALS:
            where = ~none
        shorter = trial >= TRIALS
        rate = torch.where(where, walk.rate / 4, walk.rate) if shorter else walk.rate
        tried = _one_long(way - column(rate, way) * slope, size)
        walk, better = _if_better(case, space, walk._replace(rate=rate), tried, purse, where)
        none = none | better
        if not shorter:
            walk = walk._replace(rate=torch.where(where, walk.rate * 2, walk.rate))
        where = where & ~better if shorter else where & better
        if not where.any() and shorter:
            break
    still = walk.rate < STILL
    return walk._replace(rate=torch.where(still, 1.0, walk.rate), near=torch.where(still, walk.near / 10, walk.near))
