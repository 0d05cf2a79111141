"""GeoDA: the border as a plane, its normal from labels near by, and the nearest point of the plane for each norm."""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.keys import fold
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.border_normal import border_normal
from robustly.steps.brackets import Bracket, bisect, until
from robustly.steps.counts import at_least_one
from robustly.steps.low_frequency import coefficients, factor, low
from robustly.steps.outset import going, set_out
from robustly.steps.radii import unit
from robustly.steps.spending import left
from robustly.steps.walk import positive
from robustly.steps.widths import Room, room
from robustly.threats.ball import Ball
from robustly.threats.l1 import L1Ball
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall

KINDS = (LinfBall, L2Ball, L1Ball)
SEARCH = 25  # queries that a search along a normal is reckoned to take, and
FIRST = 80  # the most that the first normal may take, both as in the authors' code
DOUBLINGS = 5  # of the radius at which the way along a normal is looked for the goal


@spec("attack", paper="Rahmati et al. 2020, arXiv:2003.06468", needs="labels", sets=("LinfBall", "L2Ball", "L1Ball"))
def geoda(
    queries: int = 5000,
    reduce: float = 3.0,
    rate: float = 0.6,
    size: float = 0.0002,
    tolerance: float = 1e-4,
    tries: int = 100,
    pool: Tensor | None = None,
) -> Attack:
    """Estimate the border's normal at a point of it, start from the input afresh along it, and so on from the border there.

    Along a normal w the next point is the one that is furthest along w at a distance r, within the bounds: the input plus
    r w for l2, r sign(w) for linf, and for l1 the coordinates of largest |w|, each as far as it can go. The least r that
    meets the goal is found by bisection. All normals estimated so far are added up, as in the authors' code. There are so
    many estimates that the first takes about 80 queries, each next one rate^(-2/3) times as many, and the whole budget is
    spent (eq. 19).

    The walk starts at the point that the ledger already has, else at one of `pool`, else at a random point; examples for
    which none was found are not asked further. It is in the domain, whatever eps is: least distances are found with
    eps = inf and an oracle that presses on; with a finite eps an example ends at its first point within.

    Beside the paper: the mean of the signed directions is taken less their common mean (as in HopSkipJump), each estimate
    counts alike, bounds are part of the step towards a plane rather than cut off after it, and what the searches leave of
    the budget goes to further estimates.

    Args:
        queries: hard bound on the points asked an example, those of the start included.
        reduce: directions have the lowest 1 / reduce of the frequencies, down and across (the paper's 75 of 224); 1 for
            all.
        rate: the lambda of eq. 19; 1 gives each estimate as many queries.
        size: how far directions are asked, in widths of the domain: the width of the noise of each coefficient.
        tolerance: of the bisections, as a share of the distance.
        tries: most points asked for a start.
        pool: other examples to start from, (P, ...).

    Raises:
        UsageError: queries or tries < 1, reduce < 1, rate not above 0 and at most 1, size or tolerance not above 0; when
            it runs, a set that isn't a linf, l2 or l1 ball, an unbounded domain, or a pool of another shape or range.
    """
    at_least_one((queries, "queries"), (tries, "tries"))
    if not 0 < rate <= 1:
        raise UsageError(f"rate must be above 0 and at most 1, got {rate:g}.")
    for value, what in ((size, "size"), (tolerance, "tolerance")):
        positive(value, what)
    draw, plan = low(factor(reduce)), counts(queries, rate)

    def attack(case: Case) -> None:
        space = room(case, "geoda", KINDS)
        case, space, z, purse = set_out(case, space, queries, tries, pool, tolerance)
        total, index = torch.zeros_like(z), 0
        while True:
            case, (space, z, total), purse = going(case, (space, z, total), purse, (z != space.x).flatten(1).any(1))
            if not len(purse):
                return
            asked = left(case, purse).clamp_max(plan[min(index, len(plan) - 1)])
            index += 1
            far = torch.full_like(
                total.flatten(1)[:, 0], size * space.width * coefficients(tuple(z.shape[1:]), reduce) ** 0.5
            )
            normal = border_normal(case._replace(key=fold(case.key, index)), space, z, far, asked, draw)
            total = total + normal
            z = _along(case, space, z, unit(total), tolerance, purse)

    return attack


def counts(queries: int, rate: float) -> list[int]:
    """Directions asked for each normal: they grow by rate^(-2/3), the first is at most `FIRST`, the sum is the budget less
    `SEARCH` for each (eq. 19; the number of estimates as the authors' code sets it)."""
    shares: list[float] = []
    while not shares or (queries - SEARCH * len(shares)) / sum(shares) > FIRST:
        shares.append(rate ** (-2 / 3 * len(shares)))
    each = max(queries - SEARCH * len(shares), len(shares)) / sum(shares)
    return [max(1, round(each * share)) for share in shares]


def _along(case: Case, space: Room, z: Tensor, normal: Tensor, tolerance: float, purse: Tensor) -> Tensor:
    """The nearest point along the normal that meets the goal; z where none was found."""
    around = case.around
    assert isinstance(around, Ball)
    radius = around.distance(z)

    def curve(rows: Tensor, far: Tensor) -> Tensor:
        point = around.take(rows).resized(far.to(radius)).linear_max(normal[rows])
        return point.maximum(space.low[rows]).minimum(space.high[rows])

    every = torch.ones_like(case.goal.y, dtype=torch.bool)
    radii = radius[:, None] * 2.0 ** torch.arange(DOUBLINGS + 1, device=z.device)
    place, found, _ = until(case, curve, radii, purse, every, hit=True)
    met = radii.gather(1, place[:, None])[:, 0]
    missed = torch.where(place > 0, met / 2, 0)
    met = bisect(case, curve, Bracket(met, missed), tolerance * met, purse, found).met
    return torch.where(column(found, z), curve(torch.arange(len(z), device=z.device), met), z)
