"""Views: what a model is shown in the place of a point, so that an attack on it means more to other models.

A view makes one or more copies of each point, differentiably; the gradient at the point is the mean of those at its copies,
carried back by the chain rule. Views chain: every copy that one makes is seen through the next. What a view draws depends on
the example's own key alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from robustly.core.keys import fold
from robustly.core.rows import column
from robustly.oracle import Answer
from robustly.oracle.answers import Loss
from robustly.steps.types import Case

See: TypeAlias = Callable[[Case, Tensor, Tensor, int], Tensor]
"""see(case, z, key, i) -> the copy of number i of each z (B, ...), drawn by key (B, 2), with the graph that leads back to z."""


class _View(NamedTuple):
    times: int
    see: See


class View(_View):
    """times: copies of each point. see: makes one of them. A subclass of the pair, so that it can carry its spec."""


def through(views: Sequence[View], case: Case, z: Tensor, loss: Loss, key: Tensor) -> Answer:
    """Value, gradient and scores at z (B, ...), each the mean over all copies; a forward and a backward pass each.

    A copy outside the model's range is put to its edge before it is asked, and its gradient is carried back as if it
    had not been. With no view, that of z itself.
    """
    answers = [_answer(views, case, z, loss, key, number) for number in range(math.prod(v.times for v in views))]
    if len(answers) == 1:
        return answers[0]
    return Answer(*(torch.stack(same).mean(0) for same in zip(*answers, strict=True)))


def _answer(views: Sequence[View], case: Case, z: Tensor, loss: Loss, key: Tensor, number: int) -> Answer:
    """The answer at one copy, its gradient carried back to z."""
    domain = case.oracle.model.domain
    point = z.detach().requires_grad_()
    with torch.enable_grad():
        copy = point
        for view, turn in zip(views, _digits(views, number), strict=True):
            key = fold(key, turn)  # copies that part later have drawn the same so far
            copy = view.see(case, copy, key, turn)
    answer = case.oracle.gradient(copy.detach().clamp(domain.low, domain.high), loss, case.goal)
    if copy is point:
        return answer
    return answer._replace(grad=torch.autograd.grad(copy, point, answer.grad)[0])


def _digits(views: Sequence[View], number: int) -> list[int]:
    """Which copy of each view the copy of that number is, the last view's turning fastest."""
    out = []
    for view in reversed(views):
        number, digit = divmod(number, view.times)
        out.append(digit)
    return out[::-1]


def black(case: Case) -> float:
    """What an empty picture is filled with: the low end of the model's range, or 0 where it has none."""
    low = case.oracle.model.domain.low
    return low if math.isfinite(low) else 0.0


def width(case: Case) -> float:
    """How wide the model's range is, or 1 where it has no end: papers take images in [0, 1]."""
    domain = case.oracle.model.domain
    return domain.high - domain.low if math.isfinite(domain.high - domain.low) else 1.0


def pictures(z: Tensor) -> Tensor:
    """Inputs (B, C, H, W) as they are; of any other shape as a line of numbers (B, 1, 1, n)."""
    return z if z.dim() == 4 else z.reshape(len(z), 1, 1, -1)


def share_of(chosen: Tensor, other: Tensor, where: Tensor) -> Tensor:
    """Rows of `chosen` where that is true, bool (B,), else of `other`."""
    return torch.where(column(where, chosen), chosen, other)
