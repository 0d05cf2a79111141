"""C&W for linf: press down what sticks out above a threshold that falls."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.counts import at_least_one
from robustly.steps.moments import direction, no_moments, remembered
from robustly.steps.penalty import hinge
from robustly.steps.sizes import SIZES, nearer
from robustly.steps.tanh import from_inputs, to_inputs
from robustly.steps.walk import positive, still_open
from robustly.steps.widths import Room, room
from robustly.threats.linf import LinfBall

FALL = 0.9  # of the threshold after each success, as in the paper
GIVE_UP = 1e6  # times the first weight: beyond it an example is left alone


class Press(NamedTuple):
    """One row an example.

    change: (B, ...), where the next descent starts, in widths. threshold, weight: (B,). best, far: the change of least
    height that met the goal, and that height. alive: bool (B,), not given up.
    """

    change: Tensor
    threshold: Tensor
    weight: Tensor
    best: Tensor
    far: Tensor
    alive: Tensor


@spec("attack", paper="Carlini & Wagner 2017, arXiv:1608.04644, section VI.C", sets=("LinfBall",))
def cw_linf(steps: int = 50, binary_steps: int = 20, rate: float = 0.01, initial_const: float = 1.0) -> Attack:
    """Minimise a weight times the margin plus the sum of what exceeds a threshold, in tanh space; then lower the threshold.

    Each descent starts from the nearest point found. Where one ends with the goal met below the threshold, the threshold
    falls to 0.9 of the height reached; where not, the weight doubles, or grows tenfold while the goal
    was never met. An example's descent ends at once when nothing
    exceeds the threshold and the goal is met. At most binary_steps * steps forward and backward passes an example.

    Args:
        steps: of one descent, with Adam. binary_steps: descents. rate: of Adam, in tanh space. initial_const: the first
            weight of the margin.

    Raises:
        UsageError: a count < 1, a rate or weight not above 0; when it runs, a set that isn't a linf ball, or an
            unbounded domain.
    """
    at_least_one((steps, "steps"), (binary_steps, "binary_steps"))
    positive(rate, "rate")
    positive(initial_const, "initial_const")

    def attack(case: Case) -> None:
        space = room(case, "cw_linf", (LinfBall,))
        none = torch.zeros_like(space.x)
        one = torch.ones(len(none), device=none.device)
        state = Press(none, one, initial_const * one, none, torch.inf * one, one > 0)
        for _ in range(binary_steps):
            case, (space, state) = still_open(case, (space, state))
            if not state.alive.any():
                return
            case, space, state, done = _descend(case, space, state, steps, rate)
            threshold = torch.where(done, FALL * torch.minimum(state.far, state.threshold), state.threshold)
            weight = torch.where(done, state.weight, torch.where(torch.isfinite(state.far), 2, 10) * state.weight)
            change = torch.where(column(torch.isfinite(state.far), state.best), state.best, state.change)  # or the last
            alive = state.alive & (weight <= GIVE_UP * initial_const)
            state = state._replace(change=change, threshold=threshold, weight=weight, alive=alive)

    return attack


def _descend(case: Case, space: Room, state: Press, steps: int, rate: float) -> tuple[Case, Room, Press, Tensor]:
    """One descent of every row: what is still open, and which rows met the goal below their threshold."""
    loss = hinge(0.0)
    w = from_inputs(space.low, space.high, space.at(state.change))
    moments, done = no_moments(w), torch.zeros_like(state.alive)
    for index in range(steps):
        case, (space, state, w, moments, done) = still_open(case, (space, state, w, moments, done))
        moving = state.alive & ~done
        if not moving.any():
            break
        z, slope = to_inputs(space.low, space.high, w)
        answer = case.oracle.gradient(z, loss, case.goal, where=moving)
        change = space.change(z)
        met = moving & case.goal.met(answer.scores)
        far = SIZES[LinfBall](change)
        best, least = nearer(change, far, met, state.best, state.far)
        state = state._replace(best=best, far=least)
        done = done | (met & (far <= state.threshold))
        outside = (change.abs() > column(state.threshold, change)) * change.sign()
        downhill = (outside / space.width - column(state.weight, change) * answer.grad) * slope
        moments = remembered(moments, downhill)
        mean, spread = direction(moments, index + 1)
        w = torch.where(column(moving, w), w - rate * mean / spread, w)
    last = space.change(to_inputs(space.low, space.high, w)[0])
    return case, space, state._replace(change=last), done
