"""FAB: steps onto the linearised decision border, pulled towards the input, for the least distance."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.keys import fold, normal, uniform
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.losses import difference, margin
from robustly.steps import Attack, Case, per_target
from robustly.steps.counts import at_least_one
from robustly.steps.hyperplane import DUAL, blend, length, order_of, share, step_towards, widest
from robustly.steps.walk import positive, still_open
from robustly.threats.ball import Ball

BALLS = ("LinfBall", "L2Ball", "L1Ball")
SHORT = (
    0.999  # how far towards the crossing the search goes: at it, rounding would decide whether the point meets the goal
)


class Move(NamedTuple):
    """Sizes of a step: alpha, the largest share of the input's own step; eta, overshoot; beta, kept on the way back."""

    alpha: float
    eta: float
    beta: float


class Border(NamedTuple):
    """One walk; one row an example.

    z: (B, ...), where it is. best, best_margin, far: the nearest point that met the goal, its margin, its distance (inf
    where none did). start: (B,), the margin of the input itself.
    """

    z: Tensor
    best: Tensor
    best_margin: Tensor
    far: Tensor
    start: Tensor


@spec("attack", paper="Croce & Hein 2020, arXiv:1907.02044", sets=BALLS)
def fab(
    steps: int = 100,
    times: int = 1,
    alpha: float = 0.1,
    eta: float = 1.05,
    beta: float = 0.9,
    binary_steps: int = 3,
) -> Attack:
    """The fast adaptive boundary attack: projections onto the nearest linearised border, in the domain, not in the ball.

    Each step moves the point beyond the border of the nearest class, mixed with the same step from the input, and from
    a point that meets the goal back towards the input. Points beyond eps are asked on the way and are no evidence; with
    eps = inf and an oracle that presses on, the ledger keeps the nearest. The first walk starts at the input, later ones
    at random, half as far away as eps or the nearest point found. A step costs 2 forward and K backward passes; a goal
    with a target has one border, that of the target with the true label, and costs one backward pass: FAB-T is
    `per_target(fab())`, or `fab_t()`. The authors' code has no binary search at the end and pays two more forward
    passes a walk.

    Args:
        steps: of one walk. times: walks. alpha: the largest share of the input's own step. eta: a step as a multiple of
            the way to the border. beta: what is kept of a change that meets the goal.
        binary_steps: of the search between the input and the nearest point, at the end of a walk; 0 for none.

    Raises:
        UsageError: steps or times < 1, binary_steps < 0, alpha or beta not between 0 and 1, eta < 1; when it runs, a set
            that isn't a linf, l2 or l1 ball.
    """
    at_least_one((steps, "steps"), (times, "times"))
    if binary_steps < 0:
        raise UsageError(f"binary_steps must be at least 0, got {binary_steps}.")
    for value, what in ((alpha, "alpha"), (beta, "beta")):
        if not 0 <= value <= 1:
            raise UsageError(f"{what} is a share, between 0 and 1; got {value:g}.")
    if positive(eta, "eta") < 1:
        raise UsageError(f"eta must be at least 1, or no step reaches the border; got {eta:g}.")

    move = Move(alpha, eta, beta)

    def attack(case: Case) -> None:
        p = order_of(case.around, "fab")
        start = case.oracle.goal.margin(case.oracle.clean_scores())
        for index in range(times):
            case, start = still_open(case, start)
            if not len(case.key):
                return
            z = case.around.x if index == 0 else halfway(case, fold(case.key, index), p)
            closer(*walk(case, begun(case, z, start), move, steps, p), binary_steps)

    return attack


@spec("attack", paper="Croce & Hein 2020, arXiv:1907.02044, as arXiv:2003.01690 uses it", sets=BALLS)
def fab_t(steps: int = 100, targets: int = 9, times: int = 1, binary_steps: int = 3) -> Attack:
    """FAB towards each of the most likely wrong classes in turn: two forward and one backward pass a step, whatever K.

    Raises:
        UsageError: as `fab`, and targets < 1.
    """
    return per_target(fab(steps, times, binary_steps=binary_steps), targets)


def begun(case: Case, z: Tensor, start: Tensor) -> Border:
    """A walk from z (B, ...) of inputs whose margin is `start` (B,)."""
    return Border(z, cast(Ball, case.around).x, start, torch.full_like(start, torch.inf), start)


def walk(case: Case, state: Border, move: Move, steps: int, p: float) -> tuple[Case, Border]:
    """That many steps; the rows that are still open after them."""
    for _ in range(steps):
        case, state = still_open(case, state)
        if not len(case.key):
            break
        around = cast(Ball, case.around)
        x, within = around.x, widest(around)
        value, slope, scores = border(case, state.z, p)
        state = nearer(case, state, state.z, scores, p)
        own, other = step_towards(state.z, x, value, slope, within, p)
        mix = share(length(own, p), length(other, p), move.alpha)
        z = within.clip(blend(state.z + move.eta * own, x + move.eta * other, mix))
        scores = case.oracle.scores(z)
        state = nearer(case, state, z, scores, p)
        back = column(case.oracle.goal.met(scores), z)
        state = state._replace(z=torch.where(back, within.clip(x + move.beta * (z - x)), z))
    return still_open(case, state)


def border(case: Case, z: Tensor, p: float) -> tuple[Tensor, Tensor, Tensor]:
    """The function whose zeros are the border to walk to: its values (B,), gradients (B, ...), and the scores (B, K)."""
    if case.goal.target is not None:
        answer = case.oracle.gradient(z, difference if case.oracle.goal.target is None else margin, case.goal)
        return finite(answer.value), answer.grad, answer.scores
    own = case.goal.y[:, None]
    classes = case.oracle.clean_scores().shape[1]
    scores, slopes = case.oracle.jacobian(z, torch.arange(classes, device=z.device).expand(len(z), -1))
    rows = torch.arange(len(z), device=z.device)
    values, slopes = finite(scores - scores.gather(1, own)), slopes - slopes[rows, case.goal.y][:, None]
    steep = torch.linalg.vector_norm(slopes.flatten(2), ord=DUAL[p], dim=2)
    nearest = (values.abs() / steep.clamp_min(1e-30)).scatter(1, own, torch.inf).argmin(1)
    return values[rows, nearest], slopes[rows, nearest], scores


def finite(value: Tensor) -> Tensor:
    """The value, or 0 where it is no number: no border is seen there, so nothing moves."""
    return torch.nan_to_num(value, nan=0.0, posinf=0.0, neginf=0.0)


def nearer(case: Case, state: Border, z: Tensor, scores: Tensor, p: float) -> Border:
    """Keep z (B, ...) where it meets the goal and is nearer than what did before."""
    distance = length(z - cast(Ball, case.around).x, p)
    better = case.oracle.goal.met(scores) & (distance < state.far)
    return state._replace(
        best=torch.where(column(better, z), z, state.best),
        best_margin=torch.where(better, case.oracle.goal.margin(scores), state.best_margin),
        far=torch.where(better, distance, state.far),
    )


def closer(case: Case, state: Border, binary_steps: int) -> None:
    """Between the input and the nearest point found, ask where the margin would cross zero if it were linear there.

    Section 3.3 of the paper: the point asked takes the place of the end on its side.
    """
    around = cast(Ball, case.around)
    inside, outside, within = state.best, around.x, widest(around)
    low, high = state.best_margin, state.start  # of the two ends: at most 0, above 0
    found = torch.isfinite(state.far)
    for _ in range(binary_steps):
        part = SHORT * torch.nan_to_num(low / (low - high), nan=0.5).clamp(0, 1)
        z = within.clip(blend(inside, outside, part))
        scores = case.oracle.scores(z, where=found)
        value, met = case.oracle.goal.margin(scores), case.oracle.goal.met(scores)
        inside, outside = torch.where(column(met, z), z, inside), torch.where(column(met, z), outside, z)
        low, high = torch.where(met, value, low), torch.where(met, high, value)


def halfway(case: Case, key: Tensor, p: float) -> Tensor:
    """A random point (B, ...), half as far away as eps or the nearest point found; anywhere where neither is finite."""
    around = cast(Ball, case.around)
    shape = around.x.shape[1:]
    noise = 2 * uniform(key, shape) - 1 if p == float("inf") else normal(key, shape)
    reach = torch.minimum(around.eps, case.oracle.ledger.distance[case.oracle.rows]).to(noise.dtype)
    size = torch.where(torch.isfinite(reach), reach, 0) / length(noise, p).clamp_min(1e-30) / 2
    near = widest(around).clip(around.x + column(size, noise) * noise)
    return torch.where(column(torch.isfinite(reach), near), near, around.sample(key))
