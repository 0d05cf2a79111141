"""Bandits: a gradient learned from two points a step, remembered from step to step and the same over tiles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.losses import cross_entropy
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case, by_radius, chain, clean, projected, steepest
from robustly.steps.canvas import checked_side, enlarged, tile_shape
from robustly.steps.estimates import Estimator, Guess, climb, compared
from robustly.steps.radii import unit, width_of
from robustly.steps.walk import positive
from robustly.threats.ball import Ball
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall

STEEPEST = 20.0  # what a coordinate of the prior's gradient is cut off at, so that its exponential is finite
SUREST = 1 - 1e-6  # a prior of 1 would never change again


def exponentiated(prior: Tensor, gradient: Tensor) -> Tensor:
    """A step by the exponentiated gradient within [-1, 1] in each coordinate (section 3.1, for linf)."""
    most = gradient.clamp(-STEEPEST, STEEPEST)
    up, down = (1 + prior) * most.exp(), (1 - prior) * (-most).exp()
    return ((up - down) / (up + down)).clamp(-SUREST, SUREST)


def straight(prior: Tensor, gradient: Tensor) -> Tensor:
    """A plain step (for l2)."""
    return prior + gradient


class Manner(NamedTuple):
    """How a norm does it. explore: length of the random direction added to the prior. probe: l2 distance of the two
    points, in widths of the domain. rate: of the prior, for images of PIXELS coordinates. step: of the prior."""

    explore: float
    probe: float
    rate: float
    step: Callable[[Tensor, Tensor], Tensor]


MANNERS = {
    LinfBall: Manner(1.0, 0.1, 100.0, exponentiated),
    L2Ball: Manner(0.01, 0.01, 0.1, straight),
}
"""The authors' settings for images of 3 x 50 x 50 tiles."""
TILES = 3 * 50 * 50


@spec(
    "attack",
    paper="Ilyas et al. 2019, arXiv:1807.07978, algorithms 2 and 3",
    needs="scores",
    sets=("LinfBall", "L2Ball"),
)
def bandits(queries: int = 5000, side: int = 14, size: float = 0.2, loss: Loss = cross_entropy) -> Attack:
    """Bandit optimisation with both priors of the paper: over time, the gradient of the last step, and over tiles.

    A step asks two points, z plus a little of the prior moved to one side and to the other; what their losses differ by
    moves the prior, and the image steps along it. Those points are put inside the set and stand for the image, which isn't
    asked itself until the end. A surviving example costs exactly `queries` forward passes.

    Args:
        queries: points asked an example.
        side: tiles along each side of an image, each with one value of the prior; 0 for a prior of pixels. The paper
            has 50 for images of 299 x 299.
        size: a step, as a fraction of eps; the paper has 0.2 for linf and 0.1 for l2.
        loss: what must rise.

    Raises:
        UsageError: queries < 1, side < 0, size not above 0; when it runs, a set other than a linf or l2 ball, an infinite
            eps, or an unbounded domain.
    """
    step = projected(chain(steepest(), by_radius(positive(size, "size"))))
    return climb(remembered(checked_side(side)), loss, clean, step, queries, "bandits")


def remembered(side: int) -> Estimator:
    """The prior (B, C, h, w) as an estimator: its memory is what it says."""

    def init(case: Case) -> Tensor:
        x = cast(Ball, case.around).x
        return torch.zeros(len(x), *tile_shape(x.shape[1:], side), device=x.device)

    def estimate(case: Case, prior: Tensor, z: Tensor, loss: Loss, numbers: range) -> tuple[Guess, Tensor]:
        around, inner = cast(Ball, case.around), z.shape[1:]
        manner = MANNERS[LinfBall if isinstance(around, LinfBall) else L2Ball]
        count = math.prod(prior.shape[1:])
        value = torch.zeros(len(z), device=z.device)
        for number in numbers:
            way = manner.explore * keys.normal(keys.fold(case.key, 1 + number), prior.shape[1:]) / math.sqrt(count)
            probe = manner.probe * width_of(around, "bandits")
            ends = (probe * unit(enlarged(prior + way, inner)), probe * unit(enlarged(prior - way, inner)))
            seen = compared(case, z, [ends], loss)
            slope = seen.rises[0] / (manner.probe * manner.explore)
            rate = manner.rate * math.sqrt(count / TILES)
            prior = manner.step(prior, rate * column(slope, way) * way)
            value = value + seen.total
        return Guess(value / (2 * len(numbers)), enlarged(prior, inner)), prior

    return Estimator(init, estimate, 1)
