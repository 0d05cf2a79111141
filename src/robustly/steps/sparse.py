"""The step of Auto-PGD for l1: along as many coordinates as the best point so far says it takes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.oracle import Answer
from robustly.steps.types import Case, Step
from robustly.steps.walk import zeros
from robustly.threats.base import Smooth
from robustly.threats.l1 import L1Ball

PERIOD = 0.04  # share of the moves between two looks at the sparsity
FIRST = 0.2  # share of the coordinates that move at first, where the start says nothing of it
FEWER = 1.5  # of the coordinates that the best point changes, one in 1.5 moves
SPARSER = 0.95  # the best point changes fewer coordinates if it changes less than this share of what it did
SHRINK, LEAST = 1.5, 0.1  # by how much a step shrinks where it doesn't, and the smallest step, as a multiple of eps
ROUNDING = 1e-3  # so that a third of three thirds is one
EARLY = 0.9  # share of the moves in wider balls, were all stages as long as the first


class SparseTrail(NamedTuple):
    """Where each walk is and how it went; one row an example.

    z: the point. size: (B,), the step as a multiple of eps. share: (B,), of the coordinates, that move. changed: (B,),
    coordinates that the best point changed at the last look. best, best_grad, best_value: the point of largest loss,
    its gradient, its loss.
    """

    z: Tensor
    size: Tensor
    share: Tensor
    changed: Tensor
    best: Tensor
    best_grad: Tensor
    best_value: Tensor


class Stage(NamedTuple):
    """Part of a walk: moves in a ball of `multiple` times eps, from the answer number `begin` on."""

    begin: int
    moves: int
    multiple: int


def sparse(steps: int, wider: int) -> Step:
    """The step of l1-APGD (Croce & Hein 2021, arXiv:2103.01208, algorithms 1 and 2) through balls of ever smaller radius.

    It moves along the signs of the largest entries of the gradient. Every 4 % of the moves it looks at the best point:
    where that has become sparser, the walk goes on from it with the whole step, else with a smaller one; and one in 1.5
    of the coordinates that it changes move from then on. Each ball is entered at the projection of the best point of the
    one before. wider: the first ball's radius as a multiple of eps; asked for `answers(steps, wider)` gradients.
    """
    plan = {stage.begin: stage for stage in stages(steps, wider)}

    def init(case: Case, z: Tensor) -> SparseTrail:
        around = _ball(case)
        outer = replace(around, eps=around.eps * wider)
        share = _changed(around, z) / _able(around) / FEWER if wider > 1 else zeros(case) + FIRST
        return _enter(outer, z, share, _changed(around, z) if wider > 1 else _able(around))

    def update(case: Case, state: SparseTrail, answer: Answer, index: int) -> SparseTrail:
        around = _ball(case)
        begin = max(at for at in plan if at <= index)
        stage, moved = plan[begin], index - begin
        ball = replace(around, eps=around.eps * stage.multiple)
        state, grad = _judged(state, answer), answer.grad
        if index + 1 in plan:  # this answer was the last of its stage
            inner = replace(around, eps=around.eps * plan[index + 1].multiple)
            z = inner.project(state.best)
            changed = _changed(around, z)
            return _enter(inner, z, changed / _able(around) / FEWER, changed)
        if moved and moved % max(int(PERIOD * stage.moves), 1) == 0:
            state, grad = _looked(around, state, grad)
        return state._replace(z=_moved(ball, state, grad))

    return Step(init, lambda case, state: state.z, update, lambda state: state.z)


def answers(steps: int, wider: int) -> int:
    """Gradients that `sparse` is asked for: one a move, and one more at the end of each ball but the last."""
    return steps + wider - 1


def stages(steps: int, wider: int) -> tuple[Stage, ...]:
    """Balls of wider, ..., 2 and 1 times eps; for three of them 30 %, 30 % and 40 % of the moves (section 4.3).

    Raises:
        UsageError: fewer steps than balls.
    """
    if not 1 <= wider <= steps:
        raise UsageError(f"wider must be a whole number from 1 to steps = {steps}, got {wider}.")
    early = min(math.ceil(EARLY / wider * steps), (steps - 1) // (wider - 1)) if wider > 1 else 0
    last = steps - early * (wider - 1)
    return tuple(Stage(i * (early + 1), early if i < wider - 1 else last, wider - i) for i in range(wider))


def _enter(ball: L1Ball, z: Tensor, share: Tensor, changed: Tensor) -> SparseTrail:
    none = torch.zeros(len(z), device=z.device)
    return SparseTrail(ball.project(z), none + 1, share, changed, z, torch.zeros_like(z), none - torch.inf)


def _judged(state: SparseTrail, answer: Answer) -> SparseTrail:
    better = answer.value > state.best_value
    return state._replace(
        best=torch.where(column(better, state.z), state.z, state.best),
        best_grad=torch.where(column(better, state.z), answer.grad, state.best_grad),
        best_value=torch.where(better, answer.value, state.best_value),
    )


def _looked(around: L1Ball, state: SparseTrail, grad: Tensor) -> tuple[SparseTrail, Tensor]:
    """A look at the sparsity of the best point: the state, and the gradient to go on with."""
    changed = _changed(around, state.best)
    sparser = changed < SPARSER * state.changed
    back = column(sparser, grad)
    state = state._replace(
        z=torch.where(back, state.best, state.z),
        size=torch.where(sparser, 1, (state.size / SHRINK).clamp_min(LEAST)),
        share=changed / _able(around) / FEWER,
        changed=changed,
    )
    return state, torch.where(back, state.best_grad, grad)


def _moved(ball: L1Ball, state: SparseTrail, grad: Tensor) -> Tensor:
    """A step of length size * eps, shared equally by the coordinates of largest gradient, projected."""
    size = torch.where(ball.high > ball.low, grad, 0).flatten(1).abs()
    able = _able(ball)
    count = (state.share * able + ROUNDING).floor().clamp_min(1)  # down: rounded up, two would go on moving for ever
    least = size.sort(1, descending=True).values.gather(1, count.long()[:, None] - 1)
    moving = (size >= least) & (size > 0)
    length = ball.radius * state.size / moving.sum(1).clamp_min(1)
    change = torch.where(moving, grad.flatten(1).sign() * length[:, None], 0)
    return ball.project(state.z + change.view_as(grad))


def _able(around: L1Ball) -> Tensor:
    """Coordinates that can change, float (B,); at least 1, so that it can be divided by."""
    return (around.high > around.low).flatten(1).sum(1).clamp_min(1).float()


def _changed(around: L1Ball, z: Tensor) -> Tensor:
    """Coordinates that do, float (B,)."""
    return (z != around.x).flatten(1).sum(1).float()


def _ball(case: Case) -> L1Ball:
    around = cast(Smooth, case.around)
    assert isinstance(around, L1Ball)
    return around
