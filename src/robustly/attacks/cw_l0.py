"""C&W for l0: find a near point in l2, then take back the coordinates that matter least, again and again."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.losses import margin
from robustly.steps import Attack, Case
from robustly.steps.counts import at_least_one
from robustly.steps.moments import direction, no_moments, remembered
from robustly.steps.sizes import SIZES, nearer
from robustly.steps.tanh import from_inputs, to_inputs
from robustly.steps.walk import positive, still_open
from robustly.steps.widths import Room, room
from robustly.threats.l0 import L0Ball

GIVE_UP = 1e6  # times the first weight: beyond it an example is left alone
SHARE = 0.3  # of the square root of the number of coordinates still free, taken back at once


class Set(NamedTuple):
    """One row an example.

    free: bool (B, ...), the coordinates that may still change. change: (B, ...), where the next descent starts, in widths.
    weight: (B,). best, far: the change of fewest coordinates that met the goal and how many; value: (B, ...), what each
    of its coordinates gained. alive: bool (B,), not given up.
    """

    free: Tensor
    change: Tensor
    weight: Tensor
    best: Tensor
    far: Tensor
    value: Tensor
    alive: Tensor


@spec("attack", paper="Carlini & Wagner 2017, arXiv:1608.04644, section VI.B", sets=("L0Ball",))
def cw_l0(steps: int = 30, binary_steps: int = 40, rate: float = 0.05, initial_const: float = 1.0) -> Attack:
    """Shrink the set of coordinates that may change, by repeated l2 attacks on it, each from where the last one ended.

    A descent ends for an example at its first point that meets the goal. Then the coordinates with the least gradient
    times change are fixed at the input, 0.3 times the square root of their number at once as in the authors' code, at least
    one. Where a descent fails, the weight of the margin doubles, or
    grows tenfold while none has succeeded. At most binary_steps * steps forward and as many backward
    passes an example. Coordinates are numbers, not pixels of several channels.

    Args:
        steps: of one descent, with Adam. binary_steps: descents. rate: of Adam, in tanh space. initial_const: the first
            weight of the margin.

    Raises:
        UsageError: a count < 1, a rate or weight not above 0; when it runs, a set that isn't an l0 ball, or an unbounded
            domain.
    """
    at_least_one((steps, "steps"), (binary_steps, "binary_steps"))
    positive(rate, "rate")
    positive(initial_const, "initial_const")

    def attack(case: Case) -> None:
        space = room(case, "cw_l0", (L0Ball,))
        none = torch.zeros_like(space.x)
        one = torch.ones(len(none), device=none.device)
        free = space.high > space.low
        state = Set(free, none, initial_const * one, none, torch.inf * one, none, one > 0)
        for _ in range(binary_steps):
            case, (space, state) = still_open(case, (space, state))
            if not state.alive.any():
                return
            case, space, state, done = _descend(case, space, state, steps, rate)
            state = _narrowed(state, done, GIVE_UP * initial_const)

    return attack


def _descend(case: Case, space: Room, state: Set, steps: int, rate: float) -> tuple[Case, Room, Set, Tensor]:
    """One l2 descent on the free coordinates of every row; which rows met the goal, bool (B,)."""
    low, high = (torch.where(state.free, bound, space.x) for bound in (space.low, space.high))
    w = from_inputs(low, high, space.at(state.change))
    moments, done = no_moments(w), torch.zeros_like(state.alive)
    for index in range(steps):
        case, (space, state, low, high, w, moments, done) = still_open(
            case, (space, state, low, high, w, moments, done)
        )
        moving = state.alive & ~done
        if not moving.any():
            break
        z, slope = to_inputs(low, high, w)
        answer = case.oracle.gradient(z, margin, case.goal, where=moving)
        change = torch.where(state.free, space.change(z), 0)
        met = moving & case.goal.met(answer.scores)
        best, far = nearer(change, SIZES[L0Ball](change), met, state.best, state.far)
        gained = torch.where(column(met, change), (answer.grad * change).abs(), state.value)
        state = state._replace(best=best, far=far, value=gained)
        done = done | met
        short = column((answer.value < 0).to(change.dtype) * state.weight, change)  # the hinge is flat where it is met
        downhill = (2 * change / space.width - short * answer.grad) * slope
        moments = remembered(moments, downhill)
        mean, spread = direction(moments, index + 1)
        w = torch.where(column(moving, w), w - rate * mean / spread, w)
    last = torch.where(state.free, space.change(to_inputs(low, high, w)[0]), 0)
    return case, space, state._replace(change=last), done


def _narrowed(state: Set, done: Tensor, most: float) -> Set:
    """Fix the coordinates that gained least where the goal was met, and everything that did not change at all."""
    used = state.free & (state.best != 0)
    count = used.flatten(1).sum(1)
    worth = torch.where(used, state.value, torch.inf).flatten(1)
    rank = worth.argsort(dim=1, stable=True).argsort(dim=1)
    taken = (rank < (SHARE * count.sqrt()).clamp_min(1)[:, None]).view_as(used)
    free = torch.where(column(done, used), used & ~taken, state.free)
    growth = torch.where(torch.isfinite(state.far), 2, 10)
    weight = torch.where(done, state.weight, growth * state.weight)
    start = torch.where(column(torch.isfinite(state.far), state.best), state.best, state.change)
    alive = state.alive & (weight <= most) & free.flatten(1).any(1)
    return state._replace(free=free, change=torch.where(free, start, 0), weight=weight, alive=alive)
