"""The augmented Lagrangian: distance plus a penalty on the constraint, whose multiplier follows the answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.goals import Goal
from robustly.oracle import Answer
from robustly.steps import Attack, Case
from robustly.steps.counts import at_least_one
from robustly.steps.radii import ball_of, firmly, free, unit, width_of
from robustly.steps.walk import positive, still_open
from robustly.threats.ball import Ball
from robustly.threats.l1 import L1Ball
from robustly.threats.l2 import L2Ball

AVERAGE = 0.9  # how much of the multiplier, the squared gradient and the momentum stays from one step to the next
CHECK = 10  # steps between looks at whether the constraint improves
IMPROVED = 0.95  # a constraint below this share of the one a look before has improved
STIFFER = 1.2  # by which the penalty grows where it hasn't
LEAST, MOST = 1e-6, 1e12  # the multiplier
SLOWEST = 0.01  # the last step as a share of the first
SLACK = 1e-4  # of the difference of scores, so that a tie doesn't satisfy the constraint


class Lagrangian(NamedTuple):
    """One row an example; lengths in widths of the input range.

    change: (B, ...). rate: (B,), of the first step. multiplier, stiffness: (B,), mu and rho of the penalty. before:
    (B,), the constraint at the last look. since: (B,), the step that met the goal first, or inf. squares, momentum:
    (B, ...), the state of RMSProp.
    """

    change: Tensor
    rate: Tensor
    multiplier: Tensor
    stiffness: Tensor
    before: Tensor
    since: Tensor
    squares: Tensor
    momentum: Tensor


@spec("attack", paper="Rony et al. 2021, arXiv:2011.11857", sets=("L2Ball", "L1Ball"))
def alma(steps: int = 100, length: float = 0.3, multiplier: float = 1.0, stiffness: float = 1.0) -> Attack:
    """Descend on the distance plus the penalty P2 of the constraint DLR+ < 0 with RMSProp and momentum.

    The multiplier is a moving average of the penalty's derivative, so that it needs no bisection; the step falls
    exponentially once the goal was met. The norms of the paper's distances, l2 and l1; it walks between the
    per-coordinate bounds, whatever eps is, and asks its points pulled into the ball.
    An example costs steps + 1 forward and `steps` backward passes; within a finite eps it ends at its first hit.

    Args:
        steps: gradient steps; the paper uses 100 and 1000.
        length: the distance of the first step, in widths of the input range.
        multiplier, stiffness: mu and rho at the start.

    Raises:
        UsageError: steps < 1, another number not above 0; when it runs, a set other than l2 and l1, or an
            unbounded domain.
    """
    at_least_one((steps, "steps"))
    for value, what in ((length, "length"), (multiplier, "multiplier"), (stiffness, "stiffness")):
        positive(value, what)

    def attack(case: Case) -> None:
        around = ball_of(case, "alma", tuple(NORMS), "l2 or l1")
        width_of(around, "alma")
        none = torch.zeros(len(case.key), device=case.key.device)
        empty = torch.zeros_like(around.x)
        state = Lagrangian(
            empty, none, none + multiplier, none + stiffness, none, none + torch.inf, torch.ones_like(empty), empty
        )
        for index in range(steps):
            case, state = still_open(case, state)
            if not len(case.key):
                return
            answer = case.oracle.gradient(_point(case, state), dlr_plus, case.goal)
            state, grad = weighed(case, state, answer, index)
            if index == 0:
                state, grad = begun(case, state, grad, length)
            state = moved(case, state, grad, index, steps)
        case.oracle.scores(_point(case, state))

    return attack


def dlr_plus(scores: Tensor, goal: Goal) -> Tensor:
    """The margin over the spread of the largest scores (B,): negative where the goal is met, at any scale and shift.

    Section 4.2 of the paper. With two classes the spread is the margin itself, so there it is the bare margin; with
    three, the third score stands in for the fourth that a target asks for.
    """
    if scores.shape[1] < 3:
        return goal.margin(scores) + SLACK
    top = scores.sort(1, descending=True).values
    last = top.shape[1] - 1
    third, fourth = top[:, min(2, last)], top[:, min(3, last)]
    lower = third if goal.target is None else (third + fourth) / 2
    return (goal.margin(scores) + SLACK) / (top[:, 0] - lower + 1e-8)


def slope_of_penalty(y: Tensor, stiffness: Tensor, multiplier: Tensor) -> Tensor:
    """The derivative of P2 in y (eq. 6): mu at 0, growing quadratically above it and falling to 0 below; all (B,)."""
    above, below = y.clamp_min(0), y.clamp_max(0)
    rising = multiplier + 2 * multiplier * stiffness * above + stiffness**2 * above.square() / 2
    return torch.where(y >= 0, rising, multiplier / (1 - stiffness * below).square())


def weighed(case: Case, state: Lagrangian, answer: Answer, index: int) -> tuple[Lagrangian, Tensor]:
    """The multiplier and the penalty after an answer, and the gradient of the objective (B, ...)."""
    y = answer.value
    if index == 0:
        state = state._replace(before=y)
    elif (index + 1) % CHECK == 0:
        stuck = torch.isinf(state.since) & (y >= IMPROVED * state.before)
        state = state._replace(stiffness=torch.where(stuck, STIFFER * state.stiffness, state.stiffness), before=y)
    if index:
        found = slope_of_penalty(y, state.stiffness, state.multiplier)
        mixed = AVERAGE * state.multiplier + (1 - AVERAGE) * found
        state = state._replace(multiplier=mixed.clamp(LEAST, MOST))
    met = firmly(case.goal, answer.scores) & torch.isinf(state.since)
    state = state._replace(since=torch.where(met, index, state.since))
    weight = slope_of_penalty(y, state.stiffness, state.multiplier)
    grad = column(weight, state.change) * answer.grad * width_of(_ball(case), "alma")
    if index:
        grad = grad + NORMS[type(_ball(case))][1](state.change)
    return state, grad


def begun(case: Case, state: Lagrangian, grad: Tensor, length: float) -> tuple[Lagrangian, Tensor]:
    """The rate of each row (B,) at which a step against the gradient, clipped to the bounds, has that length.

    Where there is no gradient the direction is random. The rate is found by doubling and bisection, without the model.
    """
    around, measure = free(_ball(case)), NORMS[type(_ball(case))][0]
    width = width_of(around, "alma")
    chance = unit(keys.normal(keys.fold(case.key, 0), around.x.shape[1:]))
    grad = torch.where(column((grad == 0).flatten(1).all(1), grad), chance, grad)
    size = unit(grad)

    def reached(rate: Tensor) -> Tensor:
        return measure((around.clip(around.x - width * column(rate, size) * size) - around.x) / width)

    low = torch.zeros_like(state.rate)
    high = low + length
    for _ in range(40):  # rows whose bounds are nearer than `length` end at a rate that meets them all
        high = torch.where(reached(high) < length, 2 * high, high)
    for _ in range(24):
        middle = (low + high) / 2
        short = reached(middle) < length
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return state._replace(rate=high / grad.flatten(1).norm(dim=1).clamp_min(1e-30)), grad


def moved(case: Case, state: Lagrangian, grad: Tensor, index: int, steps: int) -> Lagrangian:
    """One step of RMSProp with momentum, clipped to the bounds."""
    around = free(_ball(case))
    width = width_of(around, "alma")
    late = ((index - state.since).clamp_min(0) / (steps - state.since)).nan_to_num(0.0)
    rate = state.rate * SLOWEST**late
    squares = AVERAGE * state.squares + (1 - AVERAGE) * grad.square()
    momentum = AVERAGE * state.momentum + grad / (squares.sqrt() + 1e-8)
    z = around.x + width * (state.change - column(rate, momentum) * momentum)
    return state._replace(change=(around.clip(z) - around.x) / width, squares=squares, momentum=momentum)


def l2_length(change: Tensor) -> Tensor:
    """(B,)."""
    return change.flatten(1).norm(dim=1)


def l1_length(change: Tensor) -> Tensor:
    """(B,)."""
    return change.flatten(1).abs().sum(1)


NORMS: dict[type[Ball], tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    L2Ball: (l2_length, unit),
    L1Ball: (l1_length, torch.sign),
}
"""The distance that is minimised in each ball, and its gradient (a subgradient at zero)."""


def _point(case: Case, state: Lagrangian) -> Tensor:
    around = _ball(case)
    return around.project(around.x + width_of(around, "alma") * state.change)


def _ball(case: Case) -> Ball:
    assert isinstance(case.around, Ball)
    return case.around
