"""The Lagrangian perceptual attack: loss against a weighted excess of the feature distance."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.keys import fold, normal
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.losses import margin
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case
from robustly.steps.counts import at_least_one
from robustly.steps.perceived import away, feature_set, pushed, seen
from robustly.steps.walk import still_open

REACH = (
    0.1  # of the finite difference, in widths of the domain; START, of the first noise; both as in the authors' code
)
START = 0.01
FIRST, MORE = 0.01, 10.0  # the weight of the excess, and by what it grows where a walk ends outside
LAST = 0.1  # the last step as a share of the first


class Bound(NamedTuple):
    """A point (B, ...), the weight of what it is too far, and how far it was before the last step, both (B,)."""

    z: Tensor
    weight: Tensor
    far: Tensor


@spec("attack", paper="Laidlaw, Singla & Feizi 2021, arXiv:2006.12655, section 4", sets=("FeatureSet",))
def lpa(steps: int = 20, binary_steps: int = 5, loss: Loss = margin) -> Attack:
    """Ascend on the loss less a weight times max(0, distance - eps), the distance being that of the features.

    Each step follows the gradient's direction so far that the features move by eps, at the end of a walk by a tenth of
    it. A walk of `steps` goes on from where the one before it ended, with ten times the weight where that was outside;
    at last the point is projected, here by bisection towards the input, one of the two ways of the authors' code. Points
    asked outside the set steer it and are no evidence. A surviving example costs binary_steps * steps forward and
    backward passes and one forward pass.

    Args:
        steps: of one walk.
        binary_steps: walks. The authors' name for it; the weight only ever grows.
        loss: what to climb; the paper's is the margin.

    Raises:
        UsageError: a count < 1; when it runs, another set than that of `Features`.
    """
    at_least_one((steps, "steps"), (binary_steps, "binary_steps"))

    def attack(case: Case) -> None:
        around = feature_set(case, "lpa")
        noise = (around.domain.high - around.domain.low) * START * normal(fold(case.key, 0), around.x.shape[1:])
        z = (around.x + noise).clamp(around.domain.low, around.domain.high)
        state = Bound(z, torch.full_like(around.eps, FIRST), torch.zeros_like(around.eps))
        for _ in range(binary_steps):
            for index in range(steps):
                case, state = still_open(case, state)
                if not len(case.key):
                    return
                state = stepped(case, state, loss, LAST ** (index / steps))
            outside = state.far >= feature_set(case, "lpa").eps
            state = state._replace(weight=torch.where(outside, MORE * state.weight, state.weight))
        case, state = still_open(case, state)
        if len(case.key):
            case.oracle.scores(feature_set(case, "lpa").project(state.z))

    return attack


def stepped(case: Case, state: Bound, loss: Loss, share: float) -> Bound:
    """One step of so much of eps in feature distance, against the gradient of the Lagrangian."""
    around = feature_set(case, "lpa")
    answer = case.oracle.gradient(state.z, loss, case.goal)
    far, outwards = away(around, state.z)
    weight = torch.where(far > around.eps, state.weight, 0)
    way = answer.grad.double() - column(weight, outwards) * outwards
    way = way / column(way.flatten(1).norm(dim=1).clamp_min(1e-30), way)
    pace = pushed(around, state.z, seen(around, state.z), way, REACH).norm(dim=1)
    move = column(share * around.eps / (pace + 1e-8), way) * way
    z = (state.z + move.to(state.z.dtype)).clamp(around.domain.low, around.domain.high)
    return Bound(z, state.weight, far)
