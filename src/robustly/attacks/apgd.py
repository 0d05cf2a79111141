"""Auto-PGD: projected gradient ascent whose step size follows from how the loss has gone."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import Batch, column
from robustly.core.specs import spec
from robustly.losses import cross_entropy
from robustly.oracle import Answer
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case, Start, Step, ascend, by_radius, chain, steepest
from robustly.steps.sparse import answers, sparse, stages
from robustly.steps.starts import surface
from robustly.steps.transforms import walkable
from robustly.steps.walk import zeros
from robustly.threats.l1 import L1Ball

INERTIA = 0.25  # the share of the last move in the next, 1 - alpha in eq. 1 of the paper


class Trail(NamedTuple):
    """Where each walk is and how it went; one row an example.

    z, before: the point and the one before it. size: (B,), the step as a multiple of eps. best, best_grad, best_value:
    the point of largest loss, its gradient, its loss. value: the last loss. rises: (B,), how often the loss rose since
    the last checkpoint. at_check: best_value at the last checkpoint. cut: bool (B,), was the step halved there?
    """

    z: Tensor
    before: Tensor
    size: Tensor
    best: Tensor
    best_grad: Tensor
    best_value: Tensor
    value: Tensor
    rises: Tensor
    at_check: Tensor
    cut: Tensor


@spec("attack", paper="Croce & Hein 2020, arXiv:2003.01690; for l1 2021, arXiv:2103.01208")
def apgd(
    steps: int = 100, loss: Loss = cross_entropy, start: Start = surface, rho: float = 0.75, wider: int = 1
) -> Attack:
    """Gradient ascent with momentum that halves its step, and goes on from its best point, where the loss stalls.

    The step starts at 2 eps. At the checkpoints of the paper it is halved where the loss rose in at most a share `rho`
    of the moves since the last one, or where neither step nor best loss changed since. A surviving example costs
    steps + 1 forward and `steps` backward passes: the authors' code asks as many points and pays one more backward pass,
    for the last. In l1 it takes the sparse steps of l1-APGD instead, which `rho` has no part in: see `steps.sparse`.
    Made for linf, l2 and l1; the first kind of step walks in every other smooth set too.

    Args:
        steps: moves.
        loss: what to climb.
        start: where to begin.
        rho: the share of moves that must raise the loss.
        wider: for l1, the radius of the first ball, as a multiple of eps: with 3 it walks in 3 eps, 2 eps and eps, 30 %,
            30 % and 40 % of the steps, as in AutoAttack; two forward and backward passes more. An l1 ball under a grid,
            or cut by another ball, is walked in by the first kind of step and has none.

    Raises:
        UsageError: steps < 1, rho not between 0 and 1, wider not between 1 and steps; when it runs, an infinite eps, or
            wider > 1 for a set other than l1.
    """
    if not 0 < rho <= 1:
        raise UsageError(f"rho is a share of the steps, above 0 and at most 1, got {rho:g}.")
    everywhere = ascend(loss, start, adaptive(checkpoints(steps), rho), steps)
    stages(steps, wider)
    in_l1 = ascend(loss, _in_wider(start, wider), sparse(steps, wider), answers(steps, wider))

    def attack(case: Case) -> None:
        if isinstance(case.around, L1Ball):
            in_l1(case)
        elif wider > 1 and not isinstance(getattr(case.around, "core", None), L1Ball):
            raise UsageError(f"wider balls are for l1, not for {type(case.around).__name__}; leave wider at 1.")
        else:
            everywhere(case)

    return attack


def _in_wider(start: Start, wider: int) -> Start:
    """The start within the first of the wider balls."""

    def begin(case: Case) -> Batch:
        around = case.around
        assert isinstance(around, L1Ball)
        return start(case._replace(around=replace(around, eps=around.eps * wider)))

    return begin


def adaptive(lengths: dict[int, int], rho: float) -> Step:
    """The step of Auto-PGD; `lengths` says after how many moves a checkpoint is, and on how many it looks back."""
    direction = chain(steepest(), by_radius())

    def init(case: Case, z: Tensor) -> Trail:
        none = zeros(case)
        return Trail(z, z, none + 2, z, torch.zeros_like(z), none - torch.inf, none, none, none, none == 0)

    def update(case: Case, state: Trail, answer: Answer, index: int) -> Trail:
        state, grad = _judge(state, answer, index, lengths, rho), answer.grad
        if index in lengths:
            back = column(state.cut, grad)
            grad = torch.where(back, state.best_grad, grad)
            state = state._replace(z=torch.where(back, state.best, state.z))
        return _move(case, state, direction.update(case, direction.init(case, grad), grad)[0], index)

    return Step(init, lambda case, state: state.z, update, lambda state: state.z)


def _judge(state: Trail, answer: Answer, index: int, lengths: dict[int, int], rho: float) -> Trail:
    """What the answer at `state.z` says of the walk so far; at a checkpoint, whether to halve the step."""
    value = answer.value
    better = value > state.best_value
    best_value = torch.where(better, value, state.best_value)
    state = state._replace(
        best=torch.where(column(better, state.z), state.z, state.best),
        best_grad=torch.where(column(better, state.z), answer.grad, state.best_grad),
        best_value=best_value,
        value=value,
        rises=state.rises + (value > state.value),
    )
    if index == 0:  # nothing rose yet; the start counts as a checkpoint at which the step changed
        return state._replace(rises=torch.zeros_like(value), at_check=best_value, cut=torch.ones_like(better))
    if index not in lengths:
        return state
    cut = (state.rises <= rho * lengths[index]) | (~state.cut & (state.at_check >= best_value))
    size = torch.where(cut, state.size / 2, state.size)
    return state._replace(size=size, cut=cut, at_check=best_value, rises=torch.zeros_like(value))


def _move(case: Case, state: Trail, change: Tensor, index: int) -> Trail:
    """Eq. 1: a projected step, mixed with the last move (there is none at first), and projected again."""
    around, z = walkable(case), state.z
    ahead = around.project(z + column(state.size, change) * change)
    if index:
        ahead = around.project(z + (1 - INERTIA) * (ahead - z) + INERTIA * (z - state.before))
    return state._replace(z=ahead, before=z)


def checkpoints(steps: int) -> dict[int, int]:
    """After how many moves the checkpoints are, and the moves since the one before.

    The recursion of section 3.1 in whole moves, as the authors' code rounds it: the first period is 22 % of the steps,
    each one after it 3 % shorter, down to 6 %. (In that code the first move of all is compared with 0 in place of the
    loss at the start; here, as in the paper, with the loss at the start.)
    """
    period, shorter, least = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
    out, at = {}, period
    while at <= steps:
        out[at] = period
        period = max(period - shorter, least)
        at += period
    return out
