"""sigma-zero: descent on a smooth count of the changed coordinates, with a threshold that follows the border."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.losses import margin
from robustly.oracle import Answer
from robustly.steps import Attack, Case
from robustly.steps.moments import Moments, direction, no_moments, remembered
from robustly.steps.radii import firmly
from robustly.steps.trim import trimmed
from robustly.steps.walk import positive, still_open, zeros
from robustly.steps.widths import Room, room
from robustly.threats.l0 import L0Ball

LEAST_RATE = 0.1  # the last step as a share of the first


class Sparse(NamedTuple):
    """One descent; one row an example.

    change: (B, ...), in widths of the domain. moments: Adam's. threshold: (B,), below which a change is undone.
    best: (B, ...), the point with the fewest changes that met the goal; fewest: (B,), their number, inf for none;
    worth: (B, ...), the change times its gradient there.
    """

    change: Tensor
    moments: Moments
    threshold: Tensor
    best: Tensor
    fewest: Tensor
    worth: Tensor


@spec("attack", paper="Cina et al. 2024, arXiv:2402.01879", sets=("L0Ball",))
def sigma_zero(
    steps: int = 1000,
    rate: float = 1.0,
    sigma: float = 1e-3,
    threshold: float = 0.3,
    gain: float = 0.01,
    tries: int = 8,
) -> Attack:
    """Minimise the margin, while the goal is unmet, plus the mean of d^2 / (d^2 + sigma) over the changes d, with Adam.

    The gradient is divided by its largest entry. After each step, changes smaller than a threshold are undone; the
    threshold rises by gain * rate where the goal was met and falls where it wasn't (algorithm 1 of the paper; in the
    authors' code that update is lost). The rate falls along half a cosine. Changes are measured in widths of the range,
    so the domain must be bounded; points beyond a finite eps are asked on the way and are no evidence. At the end the best point is asked
    with fewer of its changes, which the paper does not do: a bisection over those that a gradient calls useful.
    An example costs steps + 1 + tries forward and `steps` backward passes.

    Args:
        steps: gradient steps. rate: of Adam at first, in widths. sigma: smoothness of the count. threshold: the first.
        gain: of the threshold, as a share of the rate. tries: of the bisection at the end, 0 for none.

    Raises:
        UsageError: steps < 1, tries < 0, rate or sigma not above 0, threshold or gain not between 0 and 1; when it runs, a
            set other than l0, or an unbounded domain.
    """
    if steps < 1 or tries < 0:
        raise UsageError(f"steps must be at least 1 and tries at least 0, got {steps} and {tries}.")
    positive(rate, "rate")
    positive(sigma, "sigma")
    if not (0 <= threshold <= 1 and 0 <= gain <= 1):
        raise UsageError(f"threshold and gain are between 0 and 1, got {threshold:g} and {gain:g}.")

    def attack(case: Case) -> None:
        where = room(case, "sigma_zero", (L0Ball,))
        none = torch.zeros_like(where.x)
        state = Sparse(none, no_moments(none), zeros(case) + threshold, where.x, zeros(case) + torch.inf, none)
        now = rate
        for index in range(steps):
            case, state = still_open(case, state)
            if not len(case.key):
                return
            where = room(case, "sigma_zero", (L0Ball,))
            z = where.at(state.change)
            answer = case.oracle.gradient(z, margin, case.goal)
            met = firmly(case.goal, answer.scores)
            state = kept(case, state, z, answer, met)
            threshold_now = (state.threshold + torch.where(met, gain * now, -gain * now)).clamp(0, 1)
            state = descended(where, state._replace(threshold=threshold_now), answer, met, sigma, now, index + 1)
            now = rate * (LEAST_RATE + (1 - LEAST_RATE) * (1 + math.cos(math.pi * (index + 1) / steps)) / 2)
        case, state = still_open(case, state)
        if not len(case.key):
            return
        case.oracle.scores(room(case, "sigma_zero", (L0Ball,)).at(state.change))
        trimmed(case, state.best, state.worth, torch.isfinite(state.fewest), tries)

    return attack


def kept(case: Case, state: Sparse, z: Tensor, answer: Answer, met: Tensor) -> Sparse:
    """The state after an answer at z: whether it is the best so far."""
    change = z - case.around.x
    count = (change != 0).flatten(1).sum(1).float()
    better = met & (count < state.fewest)
    wide = column(better, z)
    return state._replace(
        best=torch.where(wide, z, state.best),
        worth=torch.where(wide, change * answer.grad, state.worth),
        fewest=torch.where(better, count, state.fewest),
    )


def descended(where: Room, state: Sparse, answer: Answer, met: Tensor, sigma: float, rate: float, count: int) -> Sparse:
    """One step of Adam downhill, and the small changes undone."""
    change = state.change
    smooth = 2 * change * sigma / (change.square() + sigma).square() / change[0].numel()
    pull = torch.where(column(met, change), 0, answer.grad * where.width)
    gradient = smooth - pull
    gradient = gradient / column(gradient.flatten(1).abs().amax(1).clamp_min(1e-12), gradient)
    moments = remembered(state.moments, gradient)
    mean, size = direction(moments, count)
    change = where.fit(change - rate * mean / size)
    return state._replace(
        change=torch.where(change.abs() < column(state.threshold, change), 0, change), moments=moments
    )
