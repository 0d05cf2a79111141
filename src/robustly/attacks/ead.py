"""EAD: the least elastic net of a change, by shrinkage and thresholding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case
from robustly.steps.counts import at_least_one
from robustly.steps.penalty import Weights, bisected, hinge, weights_from
from robustly.steps.proximal import soft
from robustly.steps.walk import positive, still_open
from robustly.steps.widths import Room, room
from robustly.threats.l1 import L1Ball
from robustly.threats.l2 import L2Ball

CHECKS = 10  # early aborts are considered this often
STALLED = 0.9999  # an objective above this share of the one a check before no longer improves


class Iterate(NamedTuple):
    """One descent; one row an example. All changes (B, ...) are in widths of the domain.

    change: after the last shrinkage. ahead: with momentum. moving: bool (B,), not aborted. checked: (B,), the objective at
    the last check. met: bool (B,), some point met the goal with the confidence asked.
    """

    change: Tensor
    ahead: Tensor
    moving: Tensor
    checked: Tensor
    met: Tensor


@spec("attack", paper="Chen et al. 2018, arXiv:1709.04114", sets=("L1Ball", "L2Ball"))
def ead(
    steps: int = 100,
    binary_steps: int = 9,
    rate: float = 0.01,
    beta: float = 0.01,
    confidence: float = 0.0,
    initial_const: float = 1e-3,
) -> Attack:
    """Minimise beta times the l1 norm plus the squared l2 norm plus a weight times the margin; bisect the weight.

    FISTA: a gradient step on the smooth part from the point ahead, shrinkage by beta (eq. 5 of the paper, which doesn't
    scale it with the step), momentum. Which adversarial point is kept is the ledger's decision, the nearest in the norm of the ball:
    the paper's L1 rule in an l1 ball, and its EN rule as beta goes to 0 in an l2 ball. A step costs 2 forward passes,
    at the shrunk point and at the one ahead, and 1 backward pass.

    Args:
        steps: of one descent. binary_steps: descents, as in cw. rate: the first step, in widths of the domain squared;
            it falls with the square root of what is left. beta: the threshold, in widths of the domain.
        confidence: the margin, in scores, by which the goal should be met. initial_const: the first weight.

    Raises:
        UsageError: a count < 1, rate, beta or initial_const not above 0, confidence < 0; when it runs, a set that isn't
            an l1 or l2 ball, or an unbounded domain.
    """
    at_least_one((steps, "steps"), (binary_steps, "binary_steps"))
    for size, what in ((rate, "rate"), (beta, "beta"), (initial_const, "initial_const")):
        positive(size, what)
    if not 0 <= confidence < float("inf"):
        raise UsageError(f"confidence must be a finite number >= 0, got {confidence:g}.")
    loss = hinge(confidence)

    def attack(case: Case) -> None:
        space = room(case, "ead", (L1Ball, L2Ball))
        start = torch.full(case.goal.y.shape, initial_const, device=case.key.device)
        weights = weights_from(start)
        for _ in range(binary_steps):
            case, (space, weights) = still_open(case, (space, weights))
            if not len(case.key):
                return
            case, space, weights, met = _descend(case, space, weights, steps, rate, beta, confidence, loss)
            weights = bisected(weights, met)

    return attack


def _descend(
    case: Case, space: Room, weights: Weights, steps: int, rate: float, beta: float, confidence: float, loss: Loss
) -> tuple[Case, Room, Weights, Tensor]:
    """One descent with fixed weights: the rows still open, their room and weights, and whether they met the goal."""
    none, everywhere = torch.zeros_like(space.x), torch.ones_like(case.goal.y, dtype=torch.bool)
    state = Iterate(none, none, everywhere, torch.full_like(weights.now, torch.inf), ~everywhere)
    every = max(-(-steps // CHECKS), 1)
    for index in range(steps):
        case, (space, weights, state) = still_open(case, (space, weights, state))
        if not state.moving.any():
            break
        answer = case.oracle.gradient(space.at(state.ahead), loss, case.goal, where=state.moving)
        met = case.goal.margin(answer.scores) <= -confidence
        if index % every == 0:
            size = state.ahead.square().flatten(1).sum(1) + beta * state.ahead.abs().flatten(1).sum(1)
            objective = size - weights.now * answer.value
            stalled = objective > STALLED * state.checked
            state = state._replace(moving=state.moving & ~stalled, checked=objective)
        downhill = 2 * state.ahead - column(weights.now, state.ahead) * space.width * answer.grad
        pace = rate * (1 - index / steps) ** 0.5
        change = space.fit(soft(state.ahead - pace * downhill, torch.as_tensor(beta)))
        ahead = space.fit(change + index / (index + 3) * (change - state.change))
        asked = state.moving & case.oracle.open
        scores = case.oracle.scores(space.at(change), where=asked)
        met = asked & ((case.goal.margin(scores) <= -confidence) | met)
        state = state._replace(change=change, ahead=ahead, met=state.met | met)
    return case, space, weights, state.met
