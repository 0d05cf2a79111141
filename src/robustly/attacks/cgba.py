"""CGBA: along a semicircle to the nearest point of the border in the plane of its normal, by labels alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustly.core.keys import fold
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.border_normal import border_normal
from robustly.steps.brackets import Bracket, Curve, bisect, until
from robustly.steps.circles import aside, on_circle
from robustly.steps.counts import at_least_one
from robustly.steps.footholds import to_border
from robustly.steps.low_frequency import coefficients, factor, low
from robustly.steps.outset import fitted, going, set_out
from robustly.steps.radii import unit
from robustly.steps.sizes import l2_size
from robustly.steps.spending import left
from robustly.steps.walk import positive
from robustly.steps.widths import Room, room
from robustly.threats.l2 import L2Ball

QUARTER = math.pi / 2
LOOKS = 10  # angles tried for a first one: the last is within 1e-3 of the quarter circle, or of none


@spec("attack", paper="Reza et al. 2023, arXiv:2308.03163", needs="labels", sets=("L2Ball",))
def cgba(
    queries: int = 5000,
    directions: int = 30,
    reduce: float = 1.0,
    size: float = 0.0002,
    tolerance: float = 1e-4,
    tries: int = 100,
    pool: Tensor | None = None,
) -> Attack:
    """Estimate the border's normal, and find the border again on the circle from the input through the point.

    The t-th estimate asks `directions` sqrt(t) random directions. The circle has the input and the point as the ends of a
    diameter and lies in the plane of the normal, so that wherever it meets the border again is nearer. Untargeted, angles
    of 45 degrees, then ever nearer to 90, are asked until one misses the goal, and the last border before it is found by
    bisection. Towards a target, where borders curve more, it is CGBA-H: the angle to the normal is halved until the goal
    is met, and the point is brought straight towards the input.

    The walk starts at the point that the ledger already has, else at one of `pool`, else at a random point; examples for
    which none was found are not asked further. It is in the domain, whatever eps is: least distances are found with
    eps = inf and an oracle that presses on; with a finite eps an example ends at its first point within.

    Beside the paper: the mean of the signed directions is taken less their common mean (as in HopSkipJump), what a bound
    cuts off a direction doesn't count, and the bisections are narrow relative to the distance. The paper reduces
    frequencies by 4 on images of 224 by 224; small images have few to spare.

    Args:
        queries: hard bound on the points asked an example, those of the start included.
        directions: asked for the first normal; the t-th takes sqrt(t) times as many.
        reduce: directions have the lowest 1 / reduce of the frequencies, down and across; 1 for all.
        size: how far directions are asked, in widths of the domain: the width of the noise of each coefficient.
        tolerance: of the bisections, as a share of the distance.
        tries: most points asked for a start.
        pool: other examples to start from, (P, ...).

    Raises:
        UsageError: queries, directions or tries < 1, reduce < 1, size or tolerance not above 0; when it runs, a set that
            isn't an l2 ball, an unbounded domain, or a pool of another shape or range.
    """
    at_least_one((queries, "queries"), (directions, "directions"), (tries, "tries"))
    for value, what in ((size, "size"), (tolerance, "tolerance")):
        positive(value, what)
    draw = low(factor(reduce))

    def attack(case: Case) -> None:
        space = room(case, "cgba", (L2Ball,))
        case, space, z, purse = set_out(case, space, queries, tries, pool, tolerance)
        index = 0
        while True:
            case, (space, z), purse = going(case, (space, z), purse, l2_size(z - space.x) > 0)
            if not len(purse):
                return
            index += 1
            counts = left(case, purse).clamp_max(int(directions * index**0.5))
            far = torch.full_like(
                z.flatten(1)[:, 0], size * space.width * coefficients(tuple(z.shape[1:]), reduce) ** 0.5
            )
            normal = border_normal(case._replace(key=fold(case.key, index)), space, z, far, counts, draw)
            turn = _semicircle if case.goal.target is None else _halving
            z = turn(case, space, z, normal, tolerance, purse)

    return attack


def _semicircle(case: Case, space: Room, z: Tensor, normal: Tensor, tolerance: float, purse: Tensor) -> Tensor:
    """CGBA: the last point of the semicircle, from z on, before one that misses the goal (algorithm 2)."""
    change = z - space.x
    curve = _circle(space, change, aside(change, normal))
    nothing, every = torch.zeros_like(change.flatten(1)[:, 0]), torch.ones_like(case.goal.y, dtype=torch.bool)
    angles = QUARTER * (1 - 0.5 ** torch.arange(LOOKS + 1, device=z.device).to(nothing))  # the first is z itself
    place, missed, asked = until(case, curve, angles[1:].expand(len(z), -1), purse, every, hit=False)
    met = angles[torch.where(missed, place, asked)]
    near = torch.where(missed, angles[place + 1], met)
    bracket = bisect(case, curve, Bracket(met, near), nothing + tolerance, purse, missed)
    rows = torch.arange(len(z), device=z.device)
    return torch.where((bracket.met > 0).reshape(-1, *(1,) * (z.dim() - 1)), curve(rows, bracket.met), z)


def _halving(case: Case, space: Room, z: Tensor, normal: Tensor, tolerance: float, purse: Tensor) -> Tensor:
    """CGBA-H: the first point that meets the goal as the angle to the normal is halved, brought back to the border."""
    change = z - space.x
    curve = _circle(space, change, aside(change, normal))
    whole = (unit(change) * unit(normal)).flatten(1).sum(1).clamp(-1, 1).acos()
    angles = whole[:, None] * 0.5 ** torch.arange(1, LOOKS + 1, device=z.device)
    every = torch.ones_like(case.goal.y, dtype=torch.bool)
    place, found, _ = until(case, curve, angles, purse, every, hit=True)
    rows = torch.arange(len(z), device=z.device)
    there = curve(rows, angles[rows, place])
    z = torch.where(found.reshape(-1, *(1,) * (z.dim() - 1)), there, z)
    return to_border(case, space.x, z, tolerance, left(case, purse), where=found)


def _circle(space: Room, change: Tensor, side: Tensor) -> Curve:
    """The points of the circles at angles."""
    return lambda rows, angle: fitted(space, rows, on_circle(change[rows], side[rows], angle))
