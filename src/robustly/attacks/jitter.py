"""Jitter: PGD on a loss that noise keeps moving between the wrong classes."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.keys import fold, normal
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.goals import Goal
from robustly.losses import jittered
from robustly.oracle import Answer
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case, Start, by_radius, chain, projected, steepest, uniform
from robustly.steps.counts import at_least_one
from robustly.steps.keyed import Keyed, keyed
from robustly.steps.members import member
from robustly.steps.transforms import walkable
from robustly.steps.walk import positive, still_open


@spec("attack", paper="Schwinn et al. 2021, arXiv:2105.10304")
def jitter(steps: int = 40, size: float = 0.1, noise: float = 0.1, start: Start = uniform) -> Attack:
    """PGD on the distance between the softmax of the rescaled scores plus normal noise and the label.

    The loss is `robustly.losses.jitter` with fresh noise of deviation `noise` at every step. Where a point meets the
    goal and the oracle presses on, the loss is divided by the size of the change, as in the paper, so that the walk
    looks for nearer points. With two classes of scores such as (0, v) the loss is flat: rescaled, v is 1 or -1. `size` is
    a step as a fraction of eps. A surviving example costs steps + 1 forward and `steps` backward passes.

    Raises:
        UsageError: steps < 1, size not above 0, noise < 0; when it runs, an infinite eps.
    """
    at_least_one((steps, "steps"))
    if not 0 <= noise < float("inf"):
        raise UsageError(f"noise must be a finite number >= 0, got {noise:g}.")
    step = projected(chain(steepest(), by_radius(positive(size, "size"))))
    loss = noisy(noise)

    def attack(case: Case) -> None:
        walkable(case)
        state = step.init(case, cast(Tensor, start(case)))
        for index in range(steps):
            case, state = still_open(case, state)
            if not len(case.key):
                return
            z = member(case, step.point(case, state))
            answer = case.oracle.gradient(z, loss, keyed(case.goal, fold(case.key, 1, index)))
            state = step.update(case, state, per_change(case, z, answer), index)
        case, state = still_open(case, state)
        if len(case.key):
            case.oracle.scores(member(case, step.last(state)))

    return attack


def noisy(deviation: float) -> Loss:
    """The loss of the paper with normal noise drawn from the goal's key."""

    def loss(scores: Tensor, goal: Goal) -> Tensor:
        assert isinstance(goal, Keyed)
        return jittered(scores, goal, deviation * normal(goal.drawn, scores.shape[1:]))

    return loss


def per_change(case: Case, z: Tensor, answer: Answer) -> Answer:
    """The answer for the loss over the size of the change, in rows that meet the goal; eq. 6 of the paper.

    d(L / N) = dL / N - L dN / N^2, where N is the distance in the set's own measure; where that is flat, as a count of
    coordinates is, nothing is left of the second term.
    """
    met = case.goal.met(answer.scores)
    with torch.enable_grad():
        here = z.detach().requires_grad_()
        size = walkable(case).distance(here)
        grown = torch.autograd.grad(size.sum(), here)[0] if size.requires_grad else torch.zeros_like(z)
    size = size.detach().to(z.dtype)
    divide = met & (size > 0)
    size = torch.where(divide, size, 1)
    grad = answer.grad / column(size, z) - column(answer.value / size.square(), z) * torch.nan_to_num(grown)
    return answer._replace(
        value=torch.where(divide, answer.value / size, answer.value),
        grad=torch.where(column(divide, z), grad, answer.grad),
    )
