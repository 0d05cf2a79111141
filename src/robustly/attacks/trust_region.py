"""Trust region: steps to the linearised border, no longer than the line has proved to be trusted."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.losses import margin
from robustly.steps import Attack, Case
from robustly.steps.contraction import finish
from robustly.steps.counts import at_least_one
from robustly.steps.dual import dual_of
from robustly.steps.sizes import SIZES, nearer
from robustly.steps.walk import positive, still_open
from robustly.steps.widths import Room, room
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall

GOOD, BAD, PACE = 0.9, 0.5, 1.2  # of the paper's algorithm 1: sigma 1, sigma 2, and the factor of the radius
BEYOND = 1.02  # a step goes so much further than the border, as the authors' code does
LEAST, MOST = 0.1, 10.0  # of the radius, as multiples of the first
BACK = 0.9  # where a walk has crossed the border, its next one starts at so much of the change
KINDS = (LinfBall, L2Ball)


class Trusted(NamedTuple):
    """One row an example.

    change: (B, ...), in widths. radius: (B,), of the next step. promised: (B,), what the last step should have gained in
    margin, and before, the margin it began with; 0 where there was none. best, far: the nearest change that met the goal
    and its size.
    """

    change: Tensor
    radius: Tensor
    promised: Tensor
    before: Tensor
    best: Tensor
    far: Tensor


@spec("attack", paper="Yao et al. 2019, arXiv:1812.06371", sets=("LinfBall", "L2Ball"))
def trust_region(steps: int = 100, size: float = 0.0, targets: int = 9, binary_steps: int = 8) -> Attack:
    """Walk to the nearest border, each step as long as the linear model of the margin has proved true.

    The target is the class whose linearised border is nearest, among the `targets` of highest scores. A step goes to its
    border along the steepest direction of the norm, at most by the radius, which grows by a fifth where the margin falls
    by at least 0.9 of what was predicted and shrinks by a fifth where it falls by less than half (adaptive radius).
    A walk ends at the border in the paper; here the change is then shortened by a tenth and the walk goes on with half
    the radius until the steps are spent, which finds nearer points; an oracle that doesn't press on ends it. A step costs
    one forward and one backward pass: what a step gained is read from the forward pass of the next one; the choice of the
    target costs one forward and one backward pass a class.

    Args:
        steps: all steps together.
        size: the first radius, in widths of the domain (per coordinate for l2: the length is that times the square root
            of their number). 0 for 0.01.
        targets: classes considered.
        binary_steps: bisections of the best change at the end (not in the paper), 0 for none.

    Raises:
        UsageError: steps or targets < 1, binary_steps < 0, a negative size; when it runs, a set that isn't a linf or l2
            ball, or an unbounded domain.
    """
    at_least_one((steps, "steps"), (targets, "targets"))
    if binary_steps < 0:
        raise UsageError(f"binary_steps must be at least 0, got {binary_steps}.")
    if size != 0:
        positive(size, "size")

    def attack(case: Case) -> None:
        space = room(case, "trust_region", KINDS)
        case = _aimed(case, space, targets)
        case, space = still_open(case, space)
        if not len(case.key):
            return
        first = size or 0.01
        if isinstance(case.around, L2Ball):
            first *= math.sqrt(space.x[0].numel())
        state = _begun(space, first)
        for _ in range(steps):
            case, (space, state) = still_open(case, (space, state))
            if not len(case.key):
                return
            state = _step(case, space, state, first)
        case, (space, state) = still_open(case, (space, state))
        if len(case.key):
            met = case.oracle.goal.met(case.oracle.scores(space.at(state.change)))
            best, far = nearer(state.change, SIZES[type(case.around)](state.change), met, state.best, state.far)
            finish(case, space, best, torch.isfinite(far), binary_steps)

    return attack


def _aimed(case: Case, space: Room, targets: int) -> Case:
    """The case pushed to the class with the nearest linearised border; unchanged where it has a target."""
    if case.goal.target is not None:
        return case
    scores = case.oracle.clean_scores()
    order = scores.scatter(1, case.goal.y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
    classes = torch.cat((case.goal.y[:, None], order[:, : min(targets, scores.shape[1] - 1)]), 1)
    if classes.shape[1] == 2:
        return case._replace(goal=case.goal.toward(classes[:, 1]))
    asked = case.oracle.jacobian(space.x, classes)
    chosen = asked.scores.gather(1, classes)
    slopes = (asked.grads[:, 1:] - asked.grads[:, :1]).flatten(2)
    steep = torch.linalg.vector_norm(space.width * slopes, ord=dual_of(case.around), dim=2)
    ratio = (chosen[:, :1] - chosen[:, 1:]) / steep.clamp_min(1e-30)
    nearest = ratio.argmin(1, keepdim=True) + 1
    return case._replace(goal=case.goal.toward(classes.gather(1, nearest).squeeze(1)))


def _begun(space: Room, first: float) -> Trusted:
    none = torch.zeros_like(space.x)
    zero = torch.zeros(len(none), device=none.device)
    return Trusted(none, zero + first, zero, zero, none, zero + torch.inf)


def _step(case: Case, space: Room, state: Trusted, first: float) -> Trusted:
    """Judge the last step by the margin it led to, then take one more."""
    answer = case.oracle.gradient(space.at(state.change), margin, case.goal)
    met = case.oracle.goal.met(answer.scores)
    best, far = nearer(state.change, SIZES[type(case.around)](state.change), met, state.best, state.far)
    gained = answer.value - state.before
    grows, shrinks = gained > GOOD * state.promised, gained < BAD * state.promised
    factor = torch.where(grows, PACE, torch.where(shrinks, 1 / PACE, 1.0))
    radius = torch.where(state.promised > 0, state.radius * factor, state.radius).clamp(LEAST * first, MOST * first)
    slope = space.width * answer.grad
    steep = torch.linalg.vector_norm(slope.flatten(1), ord=dual_of(case.around), dim=1)
    reach = torch.minimum(BEYOND * (-answer.value).clamp_min(0) / steep.clamp_min(1e-30) + 1e-4, radius)
    unit = slope.sign() if isinstance(case.around, LinfBall) else slope / column(steep.clamp_min(1e-30), slope)
    ahead = space.fit(state.change + column(reach, slope) * unit)
    promised = (slope * (ahead - state.change)).flatten(1).sum(1)
    change = torch.where(column(met, slope), BACK * best, ahead)
    promised = torch.where(met, 0, promised)
    return Trusted(change, torch.where(met, radius / 2, radius), promised, answer.value, best, far)
