"""Perceptual projected gradient descent: the step that gains most for what a network sees of it."""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.core.keys import fold, normal
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.losses import margin
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case
from robustly.steps.counts import at_least_one
from robustly.steps.perceived import feature_set, pulled_back, pushed, seen
from robustly.steps.walk import still_open
from robustly.threats.features import FeatureSet

REACH = 1e-3  # of the finite differences, in widths of the domain; as in the authors' code
START = 0.01  # the width of the first noise, in widths of the domain
ABOVE = 1e-9  # a curvature below this share of the first one is none: the rest can't be told from rounding


@spec("attack", paper="Laidlaw, Singla & Feizi 2021, arXiv:2006.12655, section 4", sets=("FeatureSet",))
def ppgd(steps: int = 10, inner_steps: int = 5, loss: Loss = margin) -> Attack:
    """Ascend along (J^T J)^-1 g, J being the Jacobian of the features, by steps of 2 eps / steps in feature distance.

    That direction is the first-order best among those of equal feature distance (the paper's equation 3); it is found by
    conjugate gradients. After each step the point is projected, here by bisection towards the input, one of the two ways
    of the authors' code. A surviving example costs `steps` forward and backward passes and one forward pass; those
    through the network of the features are the threat's and not counted, 2 * inner_steps + 2 a step.

    Args:
        steps: moves.
        inner_steps: of conjugate gradients.
        loss: what to climb; the paper's is the margin.

    Raises:
        UsageError: a count < 1; when it runs, another set than that of `Features`.
    """
    at_least_one((steps, "steps"), (inner_steps, "inner_steps"))

    def attack(case: Case) -> None:
        around = feature_set(case, "ppgd")
        noise = (around.domain.high - around.domain.low) * START * normal(fold(case.key, 0), around.x.shape[1:])
        z = around.project(around.x + noise)
        for _ in range(steps):
            case, (z,) = still_open(case, (z,))
            if not len(case.key):
                return
            around = feature_set(case, "ppgd")
            answer = case.oracle.gradient(z, loss, case.goal)
            z = around.project(z + ahead(around, z, answer.grad, 2 * around.eps / steps, inner_steps).to(z.dtype))
        case, (z,) = still_open(case, (z,))
        if len(case.key):
            case.oracle.scores(z)

    return attack


def ahead(around: FeatureSet, z: Tensor, slope: Tensor, length: Tensor, inner_steps: int) -> Tensor:
    """The change (B, ...), float64, of feature distance `length` (B,) to first order along which `slope` gains most.

    Conjugate gradients on J^T J d = slope, from 0.
    """
    at_z, g = seen(around, z), slope.double()
    d, rest, way = torch.zeros_like(g), g, g
    size = (rest * rest).flatten(1).sum(1)
    least = None
    for _ in range(inner_steps):
        bent = pulled_back(around, z, pushed(around, z, at_z, way, REACH))
        curve = (way * bent).flatten(1).sum(1) / (way * way).flatten(1).sum(1).clamp_min(1e-300)
        least = ABOVE * curve if least is None else least
        sure = (curve > least) & (size > 0)
        pace = torch.where(sure, size / (way * bent).flatten(1).sum(1), 0.0)
        d, rest = d + column(pace, d) * way, rest - column(pace, d) * bent
        after = (rest * rest).flatten(1).sum(1)
        way = torch.where(column(sure, d), rest + column(after / size.clamp_min(1e-300), d) * way, way)
        size = torch.where(sure, after, size)
    d = torch.where(column((d == 0).flatten(1).all(1), d), g, d)
    change = pushed(around, z, at_z, d, REACH).norm(dim=1)
    return column(torch.where(change > 0, length / change.clamp_min(1e-300), 0.0), d) * d
