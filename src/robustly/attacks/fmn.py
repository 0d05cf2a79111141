"""Fast minimum norm: a projected ascent in a ball that shrinks where the goal is met and grows where it is not."""

from __future__ import annotations

from robustly.core.errors import UsageError
from robustly.core.specs import spec
from robustly.losses import margin
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case
from robustly.steps.chase import follow, set_out
from robustly.steps.counts import at_least_one
from robustly.steps.dual import DUAL
from robustly.steps.radii import ball_of, onto, unit, width_of
from robustly.steps.schedules import annealed
from robustly.steps.walk import positive, still_open
from robustly.threats.l0 import L0Ball

KINDS, SAY = (*DUAL, L0Ball), "linf, l2, l1 or l0"


@spec("attack", paper="Pintor et al. 2021, arXiv:2102.12827", sets=("LinfBall", "L2Ball", "L1Ball", "L0Ball"))
def fmn(
    steps: int = 100,
    rate: float = 1.0,
    last_rate: float = 0.01,
    gamma: float = 0.05,
    last_gamma: float = 0.001,
    loss: Loss = margin,
) -> Attack:
    """Walk up the gradient within a ball whose radius follows the border.

    Until a point meets the goal, the radius is where the border would be if the loss were linear; then it shrinks by
    gamma where the goal is met, and grows by gamma where it isn't. Both gamma and the step fall along half a cosine.
    For l0 the radius counts coordinates: it starts at one and changes by at least one. The projection is the nearest
    point in the ball within the bounds (the paper projects on the ball, then clips).
    An example costs steps + 1 forward and `steps` backward passes; within a finite eps it ends at its first hit.

    Args:
        steps: gradient steps.
        rate, last_rate: the l2 length of the first and the last step, in widths of the input range.
        gamma, last_gamma: by which share the radius changes at first and at last.
        loss: what is climbed: positive where the goal is met.

    Raises:
        UsageError: steps < 1, rates or gammas not above 0, gamma >= 1; when it runs, a set other than a norm ball, or
            an unbounded domain.
    """
    at_least_one((steps, "steps"))
    positive(rate, "rate")
    positive(last_rate, "last_rate")
    if not 0 < last_gamma <= gamma < 1:
        raise UsageError(f"gamma must lie below 1 and not below last_gamma > 0, got {gamma:g} and {last_gamma:g}.")

    def attack(case: Case) -> None:
        around = ball_of(case, "fmn", KINDS, SAY)
        width = width_of(around, "fmn")
        state = set_out(around)
        for index in range(steps):
            case, state = still_open(case, state)
            if not len(case.key):
                return
            around = ball_of(case, "fmn", KINDS, SAY)
            answer = case.oracle.gradient(state.z, loss, case.goal)
            state = follow(around, case.goal, state, answer, annealed(gamma, last_gamma, index, steps))
            step = annealed(rate, last_rate, index, steps) * width * unit(answer.grad)
            state = state._replace(z=onto(around, state.z + step, state.radius))
        case.oracle.scores(state.z)

    return attack
