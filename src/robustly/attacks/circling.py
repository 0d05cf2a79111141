"""Circling: CGBA's circles, with directions asked only where an answer can teach something; by labels alone."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.keys import fold
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.border_normal import Draw, border_normal
from robustly.steps.brackets import Bracket, bisect, until
from robustly.steps.circles import across, aside, on_circle
from robustly.steps.counts import at_least_one
from robustly.steps.low_frequency import crossing, factor, low
from robustly.steps.outset import fitted, going, set_out
from robustly.steps.radii import unit
from robustly.steps.sizes import l2_size
from robustly.steps.spending import left
from robustly.steps.walk import positive
from robustly.steps.widths import Room, room
from robustly.threats.l2 import L2Ball

COARSE = (
    2,
    7,
)  # the last of the estimates in 1 / reduce of the frequencies, and of those in twice as many; then in all
FIRST = 0.3  # the angle that the first plane is expected to give
WIDER = 1.5  # the first angle tried, as a multiple of that of the planes before; then twice as much, and so on
LEAST, MOST = 1e-3, 0.6  # of the first angle tried
LOOKS = 6
AGAIN = 8  # every so many estimates directions are in all numbers again, or one at a bound would stay there
FLAT = 0.99 * math.pi / 2
FINE = 2.0**-18  # the least that a coordinate of a direction is on average, in widths: finer ones drown in float32


class Walk(NamedTuple):
    """Where each row stands: z (B, ...) on the border; angle (B,), what planes have given lately."""

    z: Tensor
    angle: Tensor


@spec("attack", paper="after Reza et al. 2023, arXiv:2308.03163 (CGBA)", needs="labels", sets=("L2Ball",))
def circling(
    queries: int = 5000,
    directions: int = 100,
    size: float = 0.01,
    reduce: float = 4.0,
    tries: int = 100,
    pool: Tensor | None = None,
) -> Attack:
    """CGBA's step: the border again on the circle through the input and the point, in the plane of a normal; estimated better.

    What differs from `cgba`:
    1. Directions are asked at right angles to the change that the walk is at. What is left to learn of the normal lies
       there; the nearer the point is to the nearest one of a flat border, the more the change's own part would decide.
    2. Numbers at a bound of their range are left out of the directions: they got there because the border calls for more,
       so all of them would pull the answers one way. Each eighth estimate has them in again.
    3. The directions of an estimate are at right angles to each other, and asked at a share of the distance.
    4. The first of them are smooth in images: far away little of the normal is needed, and low frequencies give that soon.
    5. The circle's plane doesn't lead out of the bounds.
    6. The angle is looked for from what planes gave lately, not from 45 degrees.

    The walk starts at the point that the ledger already has, else at one of `pool`, else at a random point; examples for
    which none was found are not asked further. It is in the domain, whatever eps is: least distances are found with
    eps = inf and an oracle that presses on; with a finite eps an example ends at its first point within.

    Args:
        queries: hard bound on the points asked an example, those of the start included.
        directions: asked for each normal.
        size: how far they are asked, as a share of the distance; the bisections are 1000 times finer.
        reduce: the first directions have the lowest 1 / reduce of an image's frequencies, down and across; 1 for all.
        tries: most points asked for a start.
        pool: other examples to start from, (P, ...).

    Raises:
        UsageError: queries, directions or tries < 1, size not above 0, reduce < 1; when it runs, a set that isn't an l2 ball,
            an unbounded domain, or a pool of another shape or range.
    """
    at_least_one((queries, "queries"), (directions, "directions"), (tries, "tries"))
    fine = positive(size, "size") / 1000
    draws = [low(each, crossing) for each in (factor(reduce), max(1.0, reduce / 2), 1.0)]

    def attack(case: Case) -> None:
        space = room(case, "circling", (L2Ball,))
        case, space, z, purse = set_out(case, space, queries, tries, pool, fine)
        walk, index = Walk(z, z.new_full((len(z),), FIRST)), 0
        while True:
            far = l2_size(walk.z - space.x)
            case, (space, walk, far), purse = going(case, (space, walk, far), purse, far > 0)
            if not len(purse):
                return
            index += 1
            asked = left(case, purse).clamp_max(directions)
            draw = draws[(index > COARSE[0]) + (index > COARSE[1])]
            keyed = case._replace(key=fold(case.key, index))
            normal = _normal(keyed, space, walk.z, size * far, asked, draw, index % AGAIN == 0)
            walk = _turned(case, space, walk, normal, fine, purse)

    return attack


def _normal(case: Case, space: Room, z: Tensor, reach: Tensor, counts: Tensor, draw: Draw, everywhere: bool) -> Tensor:
    """The border's normal at z as far as it is at right angles to the change, and among the numbers at no bound."""
    inside = (z > space.low) & (z < space.high) | everywhere
    numbers = inside.flatten(1).sum(1).clamp_min(1).to(z.dtype)
    reach = torch.maximum(reach, FINE * space.width * numbers.sqrt())
    within = space._replace(low=torch.where(inside, space.low, z), high=torch.where(inside, space.high, z))
    along = unit(torch.where(inside, z - space.x, 0))
    return border_normal(case, within, z, reach, counts, across(draw, along))


def _turned(case: Case, space: Room, walk: Walk, normal: Tensor, fine: float, purse: Tensor) -> Walk:
    """The last point of the circle, from z on, before one that misses the goal; and what angle planes give."""
    change, rows = walk.z - space.x, torch.arange(len(walk.z), device=walk.z.device)
    outward = ((walk.z <= space.low) & (normal < 0)) | ((walk.z >= space.high) & (normal > 0))
    side = aside(change, torch.where(outward, 0, normal))

    def curve(rows: Tensor, angle: Tensor) -> Tensor:
        return fitted(space, rows, on_circle(change[rows], side[rows], angle))

    first = (WIDER * walk.angle).clamp(LEAST, MOST)[:, None]
    angles = (first * 2.0 ** torch.arange(LOOKS, device=first.device)).clamp_max(FLAT)
    angles = torch.cat((torch.zeros_like(first), angles), 1)
    every = torch.ones_like(case.goal.y, dtype=torch.bool)
    place, missed, asked = until(case, curve, angles[:, 1:], purse, every, hit=False)
    met = angles.gather(1, torch.where(missed, place, asked)[:, None])[:, 0]
    miss = torch.where(missed, angles.gather(1, place[:, None] + 1)[:, 0], met)
    met = bisect(case, curve, Bracket(met, miss), torch.full_like(met, fine), purse, missed).met
    z = torch.where(column(met > 0, walk.z), curve(rows, met), walk.z)
    return Walk(z, torch.where(met > 0, (walk.angle + met) / 2, walk.angle / 2))
