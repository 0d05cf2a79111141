"""DeepFool: step to the nearest border of the linearised model until one is crossed."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.borders import borders_at, rivals, step_to
from robustly.steps.counts import at_least_one
from robustly.steps.radii import ball_of, firmly
from robustly.steps.walk import rows_of, still_open
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall

KINDS, SAY = (LinfBall, L2Ball), "linf or l2"


class Place(NamedTuple):
    """A point (B, ...) and the labels whose borders are looked at, (B, T) or None."""

    z: Tensor
    others: Tensor | None


@spec("attack", paper="Moosavi-Dezfooli et al. 2016, arXiv:1511.04599", sets=("LinfBall", "L2Ball"))
def deepfool(steps: int = 50, overshoot: float = 0.02, targets: int = 9) -> Attack:
    """Go to the nearest border of the linearised model, and a little further, until the goal is met.

    The step is the closed form of the paper, in l2 or linf, projected on the set. Each step costs one forward and
    `targets` + 1 backward passes; with targets = 1, one: it is then the border with the class that comes next at
    each point. A row ends at its first hit; at most steps + 1 points are asked, and the clean input once more where
    there are more classes than targets + 1.

    Args:
        steps: linearisations.
        overshoot: by which share a step goes beyond the border.
        targets: how many other classes, the likeliest at the input, are looked at.

    Raises:
        UsageError: steps or targets < 1, overshoot < 0; when it runs, a set other than linf and l2.
    """
    at_least_one((steps, "steps"), (targets, "targets"))
    if not 0 <= overshoot < float("inf"):
        raise UsageError(f"overshoot must be a finite number >= 0, got {overshoot:g}.")

    def attack(case: Case) -> None:
        ball_of(case, "deepfool", KINDS, SAY)
        case, _ = still_open(case, ())
        state = Place(case.around.x, rivals(case, targets) if len(case.key) else None)
        for _ in range(steps):
            case, state = still_open(case, state)
            if not len(case.key):
                return
            borders = borders_at(case, state.z, state.others)
            going = (~firmly(case.goal, borders.scores)).nonzero().squeeze(1)
            case, (state, borders) = case.take(going), rows_of((state, borders), going)
            if len(going):
                around = ball_of(case, "deepfool", KINDS, SAY)
                change = step_to(borders, 2.0 if isinstance(around, L2Ball) else float("inf"), around.distance(state.z))
                state = state._replace(z=around.project(state.z + (1 + overshoot) * change))
        if len(case.key):
            case.oracle.scores(state.z)

    return attack
