"""The goal as a penalty: flat where it is met, and weighted so that it is met at the least size."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.goals import Goal
from robustly.oracle.answers import Loss
from robustly.steps.types import Case
from robustly.steps.walk import still_open

NEVER = 1e10  # an upper end of the weight that no bisection reaches


class Weights(NamedTuple):
    """The weight of the loss in the objective, each (B,): the one in use, and what bisection knows of the right one."""

    now: Tensor
    low: Tensor
    high: Tensor


def weights_from(start: Tensor) -> Weights:
    """The first weights (B,), of which nothing is known."""
    return Weights(start, torch.zeros_like(start), torch.full_like(start, NEVER))


def bisected(weights: Weights, met: Tensor) -> Weights:
    """The next weights: lower where the goal was met, bool (B,), higher elsewhere, tenfold until it was met once."""
    high = torch.where(met, torch.minimum(weights.high, weights.now), weights.high)
    low = torch.where(met, weights.low, torch.maximum(weights.low, weights.now))
    return Weights(torch.where(high < NEVER, (low + high) / 2, weights.now * 10), low, high)


Descend = Callable[[Case, Weights], tuple[Case, Weights, Tensor]]
"""One descent with fixed weights: the rows still open, their weights, and whether they met the goal, bool."""


def reweighted(case: Case, initial_const: float, binary_steps: int, descend: Descend) -> None:
    """`binary_steps` descents, the first with the weight `initial_const`, the others with bisected ones."""
    weights = weights_from(torch.full(case.goal.y.shape, initial_const, device=case.key.device))
    for _ in range(binary_steps):
        case, weights = still_open(case, weights)
        if not len(case.key):
            return
        case, weights, met = descend(case, weights)
        weights = bisected(weights, met)


def hinge(confidence: float) -> Loss:
    """f6 of Carlini & Wagner 2017, negated: minus the margin, no larger than the confidence, beyond which nothing is gained."""

    def loss(scores: Tensor, goal: Goal) -> Tensor:
        return -(goal.margin(scores) + confidence).clamp_min(0)

    return loss
