"""N-Attack: learn a normal distribution around the input from which most draws are adversarial."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.rows import column, slices
from robustly.core.specs import spec
from robustly.losses import margin
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case
from robustly.steps.canvas import checked_side, enlarged, tile_shape
from robustly.steps.counts import at_least_one
from robustly.steps.estimates import AT_ONCE
from robustly.steps.radii import ball_of, width_of
from robustly.steps.tanh import from_inputs, to_inputs
from robustly.steps.walk import positive, still_open
from robustly.threats.ball import Ball
from robustly.threats.coordinates import bounds
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall

FIRST = 1e-3  # spread of the random mean that the search begins with, as in the authors' code


class Field(NamedTuple):
    """The domain and the mask as bounds (B, ...), whatever eps is, and the w that stands for the input between them."""

    low: Tensor
    high: Tensor
    w: Tensor


@spec("attack", paper="Li et al. 2019, arXiv:1905.00441, algorithm 1", needs="scores", sets=("LinfBall", "L2Ball"))
def n_attack(
    queries: int = 5000,
    samples: int = 100,
    rate: float = 0.02,
    sigma: float = 0.1,
    side: int = 0,
    loss: Loss = margin,
) -> Attack:
    """Draw from a normal distribution in tanh space, project into the set, and move its mean to the draws that did well.

    mean <- mean + rate / (samples sigma) * sum (f_i - average f) / deviation of f * u_i, where f_i is the loss at the
    member nearest to tanh(w(x) + mean + sigma u_i). In the end the point of the mean itself is asked. The paper has
    a network's guess as the first mean, or as here a random one near 0, and the difference of log-probabilities as the loss,
    which for logits is the margin. A surviving example costs exactly `queries` forward passes.

    Args:
        queries: points asked an example.
        samples: draws between two moves; the paper has 300.
        rate: how far the mean moves.
        sigma: of the distribution, in tanh space.
        side: the mean and the draws are tiles, so many along each side of an image; 0 for pixels. (The authors enlarge
            coarse images bilinearly.)
        loss: what must rise.

    Raises:
        UsageError: queries or samples < 1, side < 0, rate or sigma not above 0; when it runs, a set other than a linf or l2
            ball, an infinite eps, or an unbounded domain.
    """
    at_least_one((queries, "queries"), (samples, "samples"))
    positive(rate, "rate")
    positive(sigma, "sigma")
    checked_side(side)

    def attack(case: Case) -> None:
        ball = ball_of(case, "n_attack", (LinfBall, L2Ball), "linf or l2")
        field = _field(ball)
        shape = tile_shape(ball.x.shape[1:], side)
        mean = FIRST * keys.normal(keys.fold(case.key, 0), shape)
        for index, first in enumerate(range(0, queries - 1, samples)):
            case, (field, mean) = still_open(case, (field, mean))
            if not len(case.key):
                return
            count = min(samples, queries - 1 - first)
            mean = mean + rate / (count * sigma) * _pull(case, field, mean, sigma, count, index, loss)
        case, (field, mean) = still_open(case, (field, mean))
        if len(case.key):
            case.oracle.scores(_points(cast(Ball, case.around), field, mean))

    return attack


def _pull(case: Case, field: Field, mean: Tensor, sigma: float, count: int, index: int, loss: Loss) -> Tensor:
    """The sum of the draws (B, C, h, w), each weighted by how far its loss is above the average, in deviations."""
    key = keys.fold(case.key, 1 + index)
    ways = [keys.normal(keys.fold(key, number), mean.shape[1:]) for number in range(count)]
    parts = [_values(case, field, [mean + sigma * way for way in ways[part]], loss) for part in slices(count, AT_ONCE)]
    value = torch.cat(parts)
    average = sum(value, torch.zeros_like(value[0])) / count
    spread = (sum((value - average).square(), torch.zeros_like(average)) / count).sqrt()
    pull = torch.zeros_like(mean)
    for way, good in zip(ways, (value - average) / spread.clamp_min(1e-7), strict=True):
        pull = pull + column(good, way) * way
    return pull


def _values(case: Case, field: Field, means: list[Tensor], loss: Loss) -> Tensor:
    """The loss at what the means (B, C, h, w) stand for, (M, B); 0 where not asked or no number."""
    count = len(means)
    rows = torch.arange(len(means[0]), device=field.w.device).repeat(count)
    wide = Field(*(part.repeat(count, *(1,) * (part.dim() - 1)) for part in field))
    told = case.oracle.propose(_points(cast(Ball, case.around.take(rows)), wide, torch.cat(means)), rows)
    value = loss(told.scores, case.goal.take(rows))
    return torch.where(told.asked & torch.isfinite(value), value, 0).reshape(count, -1)


def _points(ball: Ball, field: Field, mean: Tensor) -> Tensor:
    """The members nearest to what the means (B, C, h, w) stand for."""
    return ball.project(to_inputs(field.low, field.high, field.w + enlarged(mean, ball.x.shape[1:]))[0])


def _field(ball: Ball) -> Field:
    """Where tanh maps to.

    Raises:
        UsageError: an infinite eps, or an unbounded domain.
    """
    width_of(ball, "n_attack")
    if not torch.isfinite(ball.radius).all():
        raise UsageError("n_attack needs a finite eps; for the least distance wrap it: least_radius(...).")
    low, high = bounds(ball.x, ball.domain, ball.mask)
    return Field(low, high, from_inputs(low, high, ball.x))
