"""The least l2 change that is adversarial, by gradient descent on distance plus a weighted loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.counts import at_least_one
from robustly.steps.moments import Moments, direction, no_moments, remembered
from robustly.steps.penalty import Weights, hinge, reweighted
from robustly.steps.tanh import from_inputs, to_inputs
from robustly.steps.walk import positive, still_open
from robustly.threats.ball import Ball

CHECKS = 10  # early aborts are considered this often
STALLED = 0.9999  # an objective above this share of the one a check before no longer improves


class Descent(NamedTuple):
    """One descent; one row an example.

    w: (B, ...), the point in tanh space. moments: Adam's, of it. moving: bool (B,), not aborted. checked:
    (B,), the objective at the last check. met: bool (B,), some point met the goal with the confidence asked.
    """

    w: Tensor
    moments: Moments
    moving: Tensor
    checked: Tensor
    met: Tensor


@spec("attack", paper="Carlini & Wagner 2017, arXiv:1608.04644", sets=("Ball",))
def cw(
    steps: int = 1000, binary_steps: int = 9, rate: float = 0.01, confidence: float = 0.0, initial_const: float = 1e-3
) -> Attack:
    """Minimise the l2 distance plus a weight times the margin, in tanh space, with Adam; bisect the weight.

    It minimises l2 whatever ball it works in, within the ball's per-coordinate bounds, so the domain must be bounded.
    The least distance is found in L2(inf) with an oracle that presses on: the ledger keeps the nearest point that meets
    the goal, whatever the confidence. With a finite eps and an oracle that doesn't press on, an example ends at its
    first point inside. Each example has its own weight and stops its own descent; the authors' code stops the batch.
    At most binary_steps * steps forward and as many backward passes an example.

    Args:
        steps: gradient steps of one descent.
        binary_steps: descents; the weight grows tenfold until one succeeds, and is then bisected.
        rate: of Adam, in tanh space.
        confidence: the margin, in scores, by which the goal should be met.
        initial_const: the first weight.

    Raises:
        UsageError: a count < 1, rate or initial_const not above 0, confidence < 0; when it runs, a set that isn't a
            norm ball or has an unbounded domain.
    """
    at_least_one((steps, "steps"), (binary_steps, "binary_steps"))
    positive(rate, "rate")
    positive(initial_const, "initial_const")
    if not 0 <= confidence < float("inf"):
        raise UsageError(f"confidence must be a finite number >= 0, got {confidence:g}.")

    def attack(case: Case) -> None:
        _bounded(case)
        reweighted(
            case, initial_const, binary_steps, lambda some, weights: descend(some, weights, steps, rate, confidence)
        )

    return attack


def descend(case: Case, weights: Weights, steps: int, rate: float, confidence: float) -> tuple[Case, Weights, Tensor]:
    """One descent with fixed weights: the rows still open, their weights, and whether they met the goal, bool."""
    loss = hinge(confidence)
    state = _begin(case)
    every = max(steps // CHECKS, 1)
    for index in range(steps):
        case, (weights, state) = still_open(case, (weights, state))
        if not state.moving.any():
            break
        around = _bounded(case)
        z, slope = to_inputs(around.low, around.high, state.w)
        answer = case.oracle.gradient(z, loss, case.goal, where=state.moving)
        width = (
            around.domain.high - around.domain.low
        )  # distance in widths of the range, as the paper's images are in [0, 1]
        change = (z - around.x) / width
        met = state.moving & (case.goal.margin(answer.scores) <= -confidence)
        state = state._replace(met=state.met | met)
        if index % every == 0:
            state = _checked(state, change.square().flatten(1).sum(1) - weights.now * answer.value)
        downhill = (2 * change / width - column(weights.now, change) * answer.grad) * slope
        state = _moved(state, downhill, rate, index + 1)
    return case, weights, state.met


def _begin(case: Case) -> Descent:
    around = _bounded(case)
    w = from_inputs(around.low, around.high, around.x)
    everywhere = torch.ones_like(case.goal.y, dtype=torch.bool)
    return Descent(w, no_moments(w), everywhere, torch.full(everywhere.shape, torch.inf, device=w.device), ~everywhere)


def _checked(state: Descent, objective: Tensor) -> Descent:
    """Stop the rows whose objective, (B,), no longer improves."""
    return state._replace(moving=state.moving & ~(objective > STALLED * state.checked), checked=objective)


def _moved(state: Descent, downhill: Tensor, rate: float, count: int) -> Descent:
    """One step of Adam for the rows that move."""
    moments = remembered(state.moments, downhill)
    mean, spread = direction(moments, count)
    w = torch.where(column(state.moving, mean), state.w - rate * mean / spread, state.w)
    return state._replace(w=w, moments=moments)


def _bounded(case: Case) -> Ball:
    """The case's set, if it is a ball with bounds in every coordinate.

    Raises:
        UsageError: it isn't.
    """
    around = case.around
    if not isinstance(around, Ball):
        raise UsageError(f"cw works in a norm ball, not in {type(around).__name__}; give it l2, linf, l1 or l0.")
    if not (torch.isfinite(around.low).all() and torch.isfinite(around.high).all()):
        raise UsageError(f"cw needs a bounded input range, got {around.domain}: declare it, say range=(0, 1).")
    return around
