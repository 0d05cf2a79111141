"""SparseFool: DeepFool finds the border, and the steepest coordinates alone are moved onto it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import column, spread
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.borders import borders_at, nearest, pick, rivals
from robustly.steps.counts import at_least_one
from robustly.steps.hyperplane import onto_plane, widest
from robustly.steps.radii import ball_of, firmly, width_of
from robustly.steps.trim import trimmed
from robustly.steps.walk import positive, still_open
from robustly.threats.ball import Ball
from robustly.threats.l0 import L0Ball


class Place(NamedTuple):
    """Where a search is; one row an example.

    z: (B, ...). others: the labels whose borders are looked at, (B, T) or None. met: bool (B,), z meets the goal. slope:
    (B, ...), that of the border it came onto last.
    """

    z: Tensor
    others: Tensor | None
    met: Tensor
    slope: Tensor


@spec("attack", paper="Modas et al. 2019, arXiv:1811.02248", sets=("L0Ball",))
def sparsefool(
    steps: int = 20,
    inner_steps: int = 10,
    beyond: float = 3.0,
    overshoot: float = 0.02,
    targets: int = 1,
    tries: int = 8,
) -> Attack:
    """Find the border in l2 by DeepFool, take it for flat, and move the fewest coordinates onto it, the steepest first.

    A step runs DeepFool from the point, then goes to the flat border at the point found, put `beyond` times as far
    (lambda of the paper), by moving the coordinates of the steepest slope, each as far as the domain lets it (algorithms 1
    and 2). At the end the point is asked with fewer of its changes, which the paper does not do. An example ends at its
    first hit in a search; a step of DeepFool costs one forward and `targets` + 1 backward passes, or one of each with
    targets = 1, where the border is that with the class that comes next.

    Args:
        steps: at most. inner_steps: of DeepFool, in each. beyond: how far behind the point of the border the flat one is
            put, in the distance of the two. overshoot: by which share DeepFool goes beyond. targets: how many other classes
            DeepFool looks at. tries: of the bisection at the end, 0 for none.

    Raises:
        UsageError: steps, inner_steps or targets < 1, tries < 0, beyond < 1, overshoot < 0; when it runs, a set other than
            l0, or an unbounded domain.
    """
    at_least_one((steps, "steps"), (inner_steps, "inner_steps"), (targets, "targets"), (tries + 1, "tries + 1"))
    if positive(beyond, "beyond") < 1:
        raise UsageError(f"beyond must be at least 1, which is the border itself, got {beyond:g}.")
    if not 0 <= overshoot < float("inf"):
        raise UsageError(f"overshoot must be a finite number >= 0, got {overshoot:g}.")

    def attack(case: Case) -> None:
        width_of(_ball(case), "sparsefool")
        case, _ = still_open(case, ())
        if not len(case.key):
            return
        x = case.around.x
        state = Place(x, rivals(case, targets), case.oracle.open & False, torch.zeros_like(x))
        for _ in range(steps):
            case, state = still_open(case, state)
            if not len(case.key) or state.met.all():
                break
            state = step(case, state, inner_steps, beyond, 1 + overshoot)
        case, state = still_open(case, state)
        if len(case.key):
            met = state.met | firmly(case.goal, case.oracle.scores(state.z, ~state.met))
            met = met & case.oracle.open
            trimmed(case, state.z, state.slope * (state.z - case.around.x), met, tries)

    return attack


def step(case: Case, state: Place, inner_steps: int, beyond: float, times: float) -> Place:
    """One step of the rows that have not met the goal."""
    around, far, met = _ball(case), state.z, state.met
    ahead = state.z
    inside = widest(around)
    slope = torch.zeros_like(ahead)
    crossed = met
    for index in range(inner_steps):
        ask = ~crossed & case.oracle.open
        if not ask.any():
            break
        gap, steep, hit = _border(case, ahead, state.others, ask)
        if index == 0:
            met = met | hit
        slope = torch.where(column(ask, ahead), steep, slope)  # at the point beyond the border, once there is one
        crossed = crossed | hit
        there = times * onto_plane(ahead, gap, steep, inside, 2)
        ahead = torch.where(column(ask & ~hit, ahead), inside.clip(ahead + there), ahead)
    border = far + beyond * (ahead - far)
    value = (slope * (far - border)).flatten(1).sum(1)  # below 0: the border has not been reached
    moved = around.clip(far + onto_plane(far, value, slope, inside, 1))
    going = column(~met, far)
    return Place(torch.where(going, moved, far), state.others, met, torch.where(going, slope, state.slope))


def _border(case: Case, z: Tensor, others: Tensor | None, ask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gap (B,) and slope (B, ...) of the nearest border of the rows to ask, and whether they meet the goal, bool (B,)."""
    index, count = ask.nonzero().squeeze(1), len(ask)
    borders = borders_at(case.take(index), z[index], None if others is None else others[index])
    gap, slope = pick(borders, nearest(borders, 2))
    hit = firmly(case.goal.take(index), borders.scores)
    return spread(gap, index, count), spread(slope, index, count), spread(hit, index, count)


def _ball(case: Case) -> Ball:
    return ball_of(case, "sparsefool", (L0Ball,), "l0, say l0:inf")
