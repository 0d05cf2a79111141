"""Brendel-Bethge: from an adversarial point, along the border, ever nearer to the input."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.keys import fold, uniform
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.losses import margin
from robustly.steps import Attack, Case
from robustly.steps.contraction import finish, shortened
from robustly.steps.counts import at_least_one
from robustly.steps.plane_step import PULLS, step_along
from robustly.steps.sizes import SIZES, l2_size, nearer
from robustly.steps.walk import positive, rows_of, still_open
from robustly.steps.widths import Room, room
from robustly.threats.linf import LinfBall

PUSHES = 18  # of the ascent that looks for a point to start from, each an eighth of the domain's width at most
STEEP = 6  # the first of them, along the gradient itself except in linf; the others move every coordinate as far
PUSH = 0.125
NEWTON = 1.2  # a push goes so far beyond the linearised border, if that is nearer
TO_BORDER = 10  # bisections from the starting point to the border
SHRINKS = 0.02  # the last radius over the first


@spec("attack", paper="Brendel et al. 2019, arXiv:1907.01003", sets=("LinfBall", "L2Ball", "L1Ball", "L0Ball"))
def brendel_bethge(
    steps: int = 200,
    size: float = 0.3,
    decay: float = 0.8,
    overshoot: float = 1.1,
    tries: int = 10,
    binary_steps: int = 6,
) -> Attack:
    """Follow the decision border: each step is the one of least remaining distance on the linearised border.

    The walk starts at the point that the ledger already has (so `in_turn(pdpgd(), brendel_bethge())` goes on where the
    first ended), else at the end of a short ascent in the domain, else at random noise; bisection brings it to the
    border. A step solves the trust-region problem of `steps.plane_step` and costs one forward and one backward pass.
    The radius is a share of the way from the input to the starting point on the border, and falls by a constant factor
    a step; the paper's is absolute. The walk is in the domain, whatever eps is; least distances are found with eps = inf
    and an oracle that presses on. Examples for which no starting point was found are not asked further.

    Args:
        steps: along the border.
        size: the first radius, as a share of the l2 length of the change that the walk starts with.
        decay: share of the old normal of the border kept in the new one.
        overshoot: how far beyond the border a step aims, as a multiple of the way to it; from an adversarial point
            2 - overshoot of the way.
        tries: random points asked for a start, where nothing better was found.
        binary_steps: bisections of the best change at the end (not in the paper), 0 for none.

    Raises:
        UsageError: steps or tries < 1, binary_steps < 0, size not above 0, decay not in [0, 1), overshoot not in (1, 2);
            when it runs, a set that isn't a linf, l2, l1 or l0 ball, or an unbounded domain.
    """
    at_least_one((steps, "steps"), (tries, "tries"))
    if binary_steps < 0:
        raise UsageError(f"binary_steps must be at least 0, got {binary_steps}.")
    positive(size, "size")
    if not 0 <= decay < 1:
        raise UsageError(f"decay is a share, at least 0 and below 1; got {decay:g}.")
    if not 1 < overshoot < 2:
        raise UsageError(f"overshoot must be between 1 and 2, got {overshoot:g}.")

    def attack(case: Case) -> None:
        space = room(case, "brendel_bethge", tuple(PULLS))
        change, found = _start(case, space, tries)
        case, (space, change, found) = still_open(case, (space, change, found))
        index = found.nonzero().squeeze(1)
        if not len(index):
            return
        case, space, change = case.take(index), rows_of(space, index), change[index]
        every = torch.ones_like(case.goal.y, dtype=torch.bool)
        change = shortened(case, space, change, every, TO_BORDER)
        _follow(case, space, change, steps, size, decay, overshoot, binary_steps)

    return attack


def _follow(
    case: Case, space: Room, change: Tensor, steps: int, size: float, decay: float, overshoot: float, binary_steps: int
) -> None:
    """Walk along the border from changes on it (B, ...)."""
    pull, far_of = PULLS[type(case.around)], SIZES[type(case.around)]
    radius = size * l2_size(change)
    best, far, normal = change, torch.full_like(radius, torch.inf), torch.zeros_like(change)
    for index in range(steps):
        case, state = still_open(case, (space, change, radius, best, far, normal))
        space, change, radius, best, far, normal = state
        if not len(case.key):
            return
        answer = case.oracle.gradient(space.at(change), margin, case.goal)
        met = case.goal.met(answer.scores)
        best, far = nearer(change, far_of(change), met, best, far)
        slope = space.width * answer.grad
        normal = slope if index == 0 else decay * normal + (1 - decay) * slope
        gap = -answer.value * torch.where(met, 2 - overshoot, overshoot)  # the loss is minus the margin: c of the paper
        now = radius * SHRINKS ** (index / steps)
        change = space.fit(change + step_along(pull, change, normal, gap, now, space.least, space.most))
    case, (space, change, best, far) = still_open(case, (space, change, best, far))
    if len(case.key):
        met = case.goal.met(case.oracle.scores(space.at(change)))
        best, far = nearer(change, far_of(change), met, best, far)
        finish(case, space, best, torch.isfinite(far), binary_steps)


def _start(case: Case, space: Room, tries: int) -> tuple[Tensor, Tensor]:
    """A change that meets the goal, (B, ...), and for which rows one was found, bool (B,)."""
    ledger, rows = case.oracle.ledger, case.oracle.rows
    known = cast(Tensor, ledger.point)[rows]
    change = torch.where(column(ledger.hit[rows], space.x), space.change(known), 0)
    found = torch.zeros_like(case.goal.y, dtype=torch.bool)
    for index in range(PUSHES):
        asked = case.oracle.open & ~found
        answer = case.oracle.gradient(space.at(change), margin, case.goal, where=asked)
        found = found | (asked & case.goal.met(answer.scores))
        largest = column(answer.grad.flatten(1).abs().amax(1).clamp_min(1e-30), change)
        whole = isinstance(case.around, LinfBall) or index >= STEEP
        push = answer.grad.sign() if whole else answer.grad / largest
        gain = space.width * (push * answer.grad).flatten(1).sum(1)
        far = (NEWTON * (-answer.value).clamp_min(0) / gain.clamp_min(1e-30)).clamp(max=PUSH)
        change = torch.where(column(found, change), change, space.fit(change + column(far, change) * push))
    for index in range(tries):
        noise = uniform(fold(case.key, index), change.shape[1:])
        drawn = space.least + noise * (space.most - space.least)
        asked = case.oracle.open & ~found
        hit = asked & case.goal.met(case.oracle.scores(space.at(drawn), where=asked))
        change = torch.where(column(hit, change), drawn, change)
        found = found | hit
    return change, found
