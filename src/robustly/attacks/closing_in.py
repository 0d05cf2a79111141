"""Closing in: the radius of FMN, walked with steps as long as the radius itself, for few passes."""

from __future__ import annotations

import torch

from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.losses import margin
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case
from robustly.steps.chase import follow, set_out
from robustly.steps.counts import at_least_one
from robustly.steps.radii import ball_of, onto
from robustly.steps.schedules import annealed
from robustly.steps.walk import positive, still_open
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall

KINDS, SAY = (LinfBall, L2Ball), "linf or l2 (fmn walks in l1 and l0 too)"


@spec("attack", paper="after Pintor et al. 2021, arXiv:2102.12827", sets=("LinfBall", "L2Ball"))
def closing_in(
    steps: int = 25,
    size: float = 1.0,
    last_size: float = 0.05,
    gamma: float = 0.2,
    last_gamma: float = 0.001,
    loss: Loss = margin,
) -> Attack:
    """FMN with other steps: along the steepest direction of the norm, and a share of the present radius long.

    The steps of the paper have a set l2 length, so that under linf many are spent before a large radius is reached, and
    a small one is overshot. Here the first step goes to where a linear model would have its border, and the radius is
    corrected by larger shares at first. It needs no bounds.
    An example costs steps + 1 forward and `steps` backward passes; within a finite eps it ends at its first hit.

    Args:
        steps: gradient steps.
        size, last_size: the first and the last step as shares of the radius.
        gamma, last_gamma: by which share the radius changes at first and at last.
        loss: what is climbed: positive where the goal is met.

    Raises:
        UsageError: steps < 1, sizes or gammas not above 0, gamma >= 1; when it runs, a set other than linf and l2.
    """
    at_least_one((steps, "steps"))
    positive(size, "size")
    positive(last_size, "last_size")
    if not 0 < last_gamma <= gamma < 1:
        raise UsageError(f"gamma must lie below 1 and not below last_gamma > 0, got {gamma:g} and {last_gamma:g}.")

    def attack(case: Case) -> None:
        state = set_out(ball_of(case, "closing_in", KINDS, SAY))
        for index in range(steps):
            case, state = still_open(case, state)
            if not len(case.key):
                return
            around = ball_of(case, "closing_in", KINDS, SAY)
            answer = case.oracle.gradient(state.z, loss, case.goal)
            state = follow(around, case.goal, state, answer, annealed(gamma, last_gamma, index, steps))
            reach = torch.minimum(state.radius, around.eps).clamp(max=FAR).to(state.z.dtype)
            step = annealed(size, last_size, index, steps) * column(reach, state.z) * around.steepest(answer.grad)
            state = state._replace(z=onto(around, state.z + step, state.radius))
        case.oracle.scores(state.z)

    return attack


FAR = 1e12  # a radius beyond every bound, so that no step is infinite where the gradient is all but zero
