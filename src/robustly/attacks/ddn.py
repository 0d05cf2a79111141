"""Decoupled direction and norm: the gradient turns the direction of the change, the last answer sets its length."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.losses import cross_entropy
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case
from robustly.steps.counts import at_least_one
from robustly.steps.radii import ball_of, firmly, unit, width_of
from robustly.steps.schedules import annealed
from robustly.steps.walk import positive, still_open
from robustly.threats.l2 import L2Ball


class Turn(NamedTuple):
    """A point (B, ...), the length of its change (B,), and a random direction (B, ...) for where the loss is flat."""

    z: Tensor
    length: Tensor
    chance: Tensor


@spec("attack", paper="Rony et al. 2019, arXiv:1811.09600", sets=("L2Ball",))
def ddn(
    steps: int = 100,
    rate: float = 1.0,
    last_rate: float = 0.01,
    gamma: float = 0.05,
    last_gamma: float | None = None,
    length: float = 1.0,
    levels: int | None = None,
    loss: Loss = cross_entropy,
) -> Attack:
    """Gradient steps whose length is set anew each time: a little below the last where the goal was met, above elsewhere.

    An example costs steps + 1 forward and `steps` backward passes; within a finite eps it ends at its first hit.

    Args:
        steps: gradient steps.
        rate, last_rate: the l2 length of the first and the last gradient step, in widths of the input range.
        gamma, last_gamma: by which share the length of the change is lowered or raised at first and at last, along half
            a cosine; None keeps gamma, as in the paper. With few steps 0.4 and 0.005 find the length sooner and end
            nearer to it.
        length: of the first change, in widths of the range.
        levels: each number is rounded to that many levels between the ends of the range (the authors use 256);
            None leaves it as it is.
        loss: what is climbed.

    Raises:
        UsageError: steps < 1, levels < 2, rates or length not above 0, gamma not between 0 and 1; when it runs, a set
            other than l2, or an unbounded domain.
    """
    at_least_one((steps, "steps"))
    for value, what in ((rate, "rate"), (last_rate, "last_rate"), (length, "length")):
        positive(value, what)
    last = gamma if last_gamma is None else last_gamma
    if not (0 < gamma < 1 and 0 < last < 1):
        raise UsageError(f"gamma and last_gamma are shares of the length, between 0 and 1, got {gamma:g} and {last:g}.")
    if levels is not None and not (levels >= 2 and levels == int(levels)):
        raise UsageError(f"levels is a whole number of at least 2, or None, got {levels}.")

    def attack(case: Case) -> None:
        around = ball_of(case, "ddn", (L2Ball,), "l2, say l2:0.5 (fmn walks in linf, l1 and l0 too)")
        width = width_of(around, "ddn")
        chance = unit(keys.normal(keys.fold(case.key, 0), around.x.shape[1:]))
        state = Turn(around.x, torch.full_like(around.eps, length * width), chance)
        for index in range(steps):
            case, state = still_open(case, state)
            if not len(case.key):
                return
            answer = case.oracle.gradient(state.z, loss, case.goal)
            state = turned(case, state, answer.grad, annealed(rate, last_rate, index, steps) * width)
            state = resized(case, state, firmly(case.goal, answer.scores), annealed(gamma, last, index, steps))
            if levels is not None:
                state = state._replace(z=rounded(case, state.z, levels))
        case.oracle.scores(state.z)

    return attack


def turned(case: Case, state: Turn, grad: Tensor, step: float) -> Turn:
    """A step of that l2 length along the gradient (B, ...), or in the random direction where there is none."""
    flat = (grad == 0).flatten(1).all(1)
    return state._replace(z=state.z + step * torch.where(column(flat, grad), state.chance, unit(grad)))


def resized(case: Case, state: Turn, met: Tensor, gamma: float) -> Turn:
    """The change at its next length, shorter where the goal was met, bool (B,), within the ball and its bounds."""
    around = _ball(case)
    widest = torch.maximum(around.high - around.x, around.x - around.low).double().flatten(1).norm(dim=1)
    most = torch.minimum(widest, around.inner.double())
    length = torch.minimum(state.length * torch.where(met, 1 - gamma, 1 + gamma), most)
    z = around.clip(around.x + column(length.to(state.z.dtype), state.z) * unit(state.z - around.x))
    return state._replace(z=z, length=length)


def rounded(case: Case, z: Tensor, levels: int) -> Tensor:
    """The nearest of `levels` values between the ends of the range, where the bounds allow it."""
    around = _ball(case)
    level = width_of(around, "ddn") / (levels - 1)
    return around.project(around.domain.low + ((z - around.domain.low) / level).round() * level)


def _ball(case: Case) -> L2Ball:
    assert isinstance(case.around, L2Ball)
    return case.around
