"""SurFree: to and fro on circles in random planes, without any estimate of the border's normal, by labels alone."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.keys import fold, integers
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.brackets import Bracket, Curve, bisect, until
from robustly.steps.circles import aside, on_circle
from robustly.steps.counts import at_least_one
from robustly.steps.low_frequency import frame, image_of, spectrum_of
from robustly.steps.outset import fitted, going, set_out
from robustly.steps.radii import unit
from robustly.steps.sizes import l2_size
from robustly.steps.walk import positive
from robustly.steps.widths import Room, room
from robustly.threats.l2 import L2Ball

TURNS = 3  # angles tried on each side: T of the paper
FALL = 0.98  # of the largest angle after a plane in which none hit, and its rise after one in which one did: rho
FURTHER = 6  # steps of a third of the largest angle beyond it
FLAT = 0.99 * math.pi / 2  # no angle is larger


class Walk(NamedTuple):
    """Where each row stands: z (B, ...) on the border; angle (B,), the largest it tries; kept (B, K, ...), the directions of
    the last K planes, of length 1 or zero; wave (B, C, H, W), the sizes of the coefficients that directions are drawn with."""

    z: Tensor
    angle: Tensor
    kept: Tensor
    wave: Tensor


@spec("attack", paper="Maho, Furon & Le Merrer 2021, arXiv:2011.12807", needs="labels", sets=("L2Ball",))
def surfree(
    queries: int = 5000,
    share: float = 0.5,
    angle: float = 30.0,
    directions: int = 100,
    tolerance: float = 0.01,
    tries: int = 100,
    pool: Tensor | None = None,
) -> Attack:
    """In one random plane after the other, try a few angles on the circle from the input through the point, keep what hits.

    A plane holds the input, the point on the border and a random direction, at right angles to the point's change and to
    the last `directions` of them. Angles of the largest one, 2/3 and 1/3 of it are tried to either side until one meets the
    goal; then the angle grows as far as the goal is met, and a bisection ends it. The largest angle falls by 0.98 after a
    plane that gave nothing, and rises by as much after another. Random directions are made of the image itself: tanh of its
    cosine coefficients, the lower ones, each with a sign of -1, 0 or 1.

    The walk starts at the point that the ledger already has, else at one of `pool`, else at a random point; examples for
    which none was found are not asked further. It is in the domain, whatever eps is: least distances are found with
    eps = inf and an oracle that presses on; with a finite eps an example ends at its first point within.

    Beside the paper: the cosines are those of the whole image (the authors' code also has blocks of 8 by 8), coefficients
    that are zero in an image without any count as 1, at most half of the subspace is kept out of, and the bisection
    stays on the side that hit.

    Args:
        queries: hard bound on the points asked an example, those of the start included.
        share: of an image's frequencies, the lowest ones, that directions are made of; other inputs have them of all.
        angle: the first of the largest angles, in degrees.
        directions: how many of the last ones a new one is at right angles to.
        tolerance: of the bisection of the angle, in 1 - cos of it.
        tries: most points asked for a start.
        pool: other examples to start from, (P, ...).

    Raises:
        UsageError: queries, directions or tries < 1, share not above 0 and at most 1, angle not between 0 and 90, tolerance
            not above 0; when it runs, a set that isn't an l2 ball, an unbounded domain, or a pool of another shape or range.
    """
    at_least_one((queries, "queries"), (directions, "directions"), (tries, "tries"))
    if not 0 < share <= 1:
        raise UsageError(f"share must be above 0 and at most 1, got {share:g}.")
    if not 0 < angle < 90:
        raise UsageError(f"angle is in degrees, between 0 and 90; got {angle:g}.")
    positive(tolerance, "tolerance")

    def attack(case: Case) -> None:
        space = room(case, "surfree", (L2Ball,))
        case, space, z, purse = set_out(case, space, queries, tries, pool, 1e-3)
        shape = tuple(space.x.shape[1:])
        low = lowest(*frame(shape), share if len(shape) == 3 else 1.0).to(z)
        most = min(directions, int(low.sum()) // 2)
        kept = z.new_zeros(len(z), most, *z.shape[1:])
        walk = Walk(
            z,
            z.new_full((len(z),), math.radians(angle)),
            kept,
            waves((space.x - case.oracle.model.domain.low) / space.width, low),
        )
        index = 0
        while True:
            case, (space, walk), purse = going(case, (space, walk), purse, l2_size(walk.z - space.x) > 0)
            if not len(purse):
                return
            index += 1
            walk = _turned(case._replace(key=fold(case.key, index)), space, walk, index, tolerance, purse)

    return attack


def lowest(channels: int, height: int, width: int, share: float) -> Tensor:
    """1 for that share of the coefficients of images (C, H, W), those of the lowest frequencies, at least one; 0 for others."""
    sums = torch.arange(height)[:, None] / height + torch.arange(width) / width
    rank = sums.flatten().argsort(stable=True).argsort()
    return (rank < max(1, round(share * height * width))).float().view(1, height, width).repeat(channels, 1, 1)


def waves(x: Tensor, low: Tensor) -> Tensor:
    """How large each coefficient of a direction is, (B, C, H, W): tanh of those of the inputs, among the lowest. x: in [0, 1]."""
    images = x.reshape(len(x), *low.shape)
    size = spectrum_of(images, *low.shape[-2:]).tanh() * low
    return torch.where(column((size != 0).flatten(1).any(1), size), size, low)


def _turned(case: Case, space: Room, walk: Walk, index: int, tolerance: float, purse: Tensor) -> Walk:
    """One plane: draw it, look for an angle that meets the goal, go as far as it is met (algorithm 1)."""
    change = walk.z - space.x
    side = _direction(case.key, space, walk, change)

    def curve(rows: Tensor, angle: Tensor) -> Tensor:
        return fitted(space, rows, on_circle(change[rows], side[rows], angle))

    parts = torch.arange(TURNS, 0, -1, device=side.device) / TURNS
    looks = walk.angle[:, None] * torch.stack((parts, -parts), 1).flatten()
    every = torch.ones_like(case.goal.y, dtype=torch.bool)
    place, found, asked = until(case, curve, looks, purse, every, hit=True)
    first = looks.gather(1, place[:, None])[:, 0]
    bracket = _widened(case, curve, first, walk.angle, found, place < 2, purse)
    met = bisect(case, curve, bracket, tolerance / first.abs().sin().clamp_min(tolerance), purse, found).met
    z = torch.where(column(found, side), curve(torch.arange(len(side), device=side.device), met), walk.z)
    complete = found | (asked == looks.shape[1])
    angle = torch.where(complete, walk.angle * torch.where(found, 1 / FALL, FALL), walk.angle).clamp_max(FLAT)
    kept = walk.kept
    if kept.shape[1]:
        turn = torch.arange(kept.shape[1], device=side.device) == (index - 1) % kept.shape[1]
        kept = torch.where(turn.view(1, -1, *(1,) * (side.dim() - 1)), side[:, None], kept)
    return walk._replace(z=z, angle=angle, kept=kept)


def _widened(
    case: Case, curve: Curve, first: Tensor, largest: Tensor, found: Tensor, outermost: Tensor, purse: Tensor
) -> Bracket:
    """Angles that meet the goal and that miss it: beyond the largest, steps of a third of it are tried until one misses."""
    step = first.sign() * largest / TURNS
    places = first[:, None] + step[:, None] * torch.arange(FURTHER + 1, device=first.device)
    places = places.clamp(-FLAT, FLAT)
    place, missed, asked = until(case, curve, places[:, 1:], purse, found & outermost, hit=False)
    met = places.gather(1, torch.where(missed, place, asked)[:, None])[:, 0]
    near = torch.where(missed, places.gather(1, place[:, None] + 1)[:, 0], met)
    return Bracket(met, torch.where(outermost, near, first + step))


def _direction(key: Tensor, space: Room, walk: Walk, change: Tensor) -> Tensor:
    """A random direction (B, ...) of length 1, at right angles to the change and to those that are kept."""
    wave = walk.wave * (integers(key, 3, walk.wave.shape[1:]) - 1)
    way = image_of(wave, *wave.shape[-2:]).view_as(change)
    way = unit(torch.where(space.high > space.low, way, 0))
    if walk.kept.shape[1]:
        parts = (walk.kept * way[:, None]).flatten(2).sum(2)
        way = way - (parts.reshape(*parts.shape, *(1,) * (way.dim() - 1)) * walk.kept).sum(1)
    return aside(change, way)
