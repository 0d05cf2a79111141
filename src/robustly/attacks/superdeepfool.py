"""SuperDeepFool: DeepFool, turned after each crossing so that the change stands upright on the border."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.borders import Borders, borders_at, pick, rivals, step_to
from robustly.steps.counts import at_least_one
from robustly.steps.radii import ball_of, firmly
from robustly.steps.walk import rows_of, still_open
from robustly.threats.l2 import L2Ball

GAIN = 0.999  # a crossing that isn't nearer than this share of the nearest is stale
PATIENCE = 3  # stale crossings in a row that end a row


class Place(NamedTuple):
    """One row an example.

    z: (B, ...). others: the labels whose borders are looked at, (B, T) or None. turned: bool (B,), the last step was a
    turn. crossing: float64 (B,), how far the nearest crossing was. stale: int64 (B,), crossings since
    then that were not nearer.
    """

    z: Tensor
    others: Tensor | None
    turned: Tensor
    crossing: Tensor
    stale: Tensor


@spec("attack", paper="Abdolahpourrostam et al. 2023, arXiv:2303.12481, SDF(inf, 1)", sets=("L2Ball",))
def superdeepfool(steps: int = 50, overshoot: float = 0.02, targets: int = 9) -> Attack:
    """DeepFool until a border is crossed, then the change projected on the border's normal there, again and again.

    It ends when the projected point itself meets the goal, or crossings come no nearer (the authors go on then).

    The gradients at the crossing serve both for the end of DeepFool and for the turn, so a step costs one forward and
    `targets` + 1 backward passes (one with targets = 1: the class that comes next at each point), and at most steps + 1
    points are asked; the clean input once more where there are more classes than targets + 1.
    The authors' code also bisects between the input and the result, which is not done here.

    Args:
        steps: linearisations and turns together.
        overshoot: by which share a step goes beyond the border.
        targets: how many other classes, the likeliest at the input, are looked at.

    Raises:
        UsageError: steps or targets < 1, overshoot < 0; when it runs, a set other than l2.
    """
    at_least_one((steps, "steps"), (targets, "targets"))
    if not 0 <= overshoot < float("inf"):
        raise UsageError(f"overshoot must be a finite number >= 0, got {overshoot:g}.")

    def attack(case: Case) -> None:
        ball_of(case, "superdeepfool", (L2Ball,), "l2, say l2:0.5 (deepfool walks in linf too)")
        case, _ = still_open(case, ())
        endless = torch.full_like(_ball(case).eps, torch.inf)
        others = rivals(case, targets) if len(case.key) else None
        unturned = torch.zeros_like(case.goal.y, dtype=torch.bool)
        state = Place(case.around.x, others, unturned, endless, unturned.long())
        for _ in range(steps):
            case, state = still_open(case, state)
            if not len(case.key):
                return
            borders = borders_at(case, state.z, state.others)
            met = firmly(case.goal, borders.scores)
            far = _ball(case).distance(state.z)
            stale = torch.where(far < GAIN * state.crossing, 0, state.stale + 1)
            state = state._replace(stale=torch.where(met, stale, state.stale))
            ended = met & (state.turned | (state.stale >= PATIENCE))
            state = state._replace(crossing=torch.where(met, torch.minimum(far, state.crossing), state.crossing))
            going = (~ended).nonzero().squeeze(1)
            case, (state, borders, met) = case.take(going), rows_of((state, borders, met), going)
            far = far[going]
            if len(going):
                ahead = _ball(case).project(state.z + (1 + overshoot) * step_to(borders, 2.0, far))
                turned = _turned(case, state.z, borders)
                state = state._replace(z=torch.where(column(met, ahead), turned, ahead), turned=met)
        if len(case.key):
            case.oracle.scores(state.z)

    return attack


def _turned(case: Case, z: Tensor, borders: Borders) -> Tensor:
    """The change projected on the normal of the border that was crossed (eq. 4)."""
    around = _ball(case)
    crossed = borders.scores.gather(1, borders.label).argmax(1)
    slope = pick(borders, crossed)[1].flatten(1)
    change = (z - around.x).flatten(1)
    share = (change * slope).sum(1) / slope.square().sum(1).clamp_min(1e-30)
    return around.project(around.x + (share[:, None] * slope).view_as(z))


def _ball(case: Case) -> L2Ball:
    assert isinstance(case.around, L2Ball)
    return case.around
