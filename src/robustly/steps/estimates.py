"""Gradients estimated from scores alone: pairs of points on opposite sides of where a walk is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.rows import column, slices
from robustly.oracle import Answer
from robustly.oracle.answers import Loss
from robustly.steps.counts import at_least_one
from robustly.steps.radii import ball_of, width_of
from robustly.steps.types import Attack, Case, Start, Step
from robustly.steps.walk import still_open
from robustly.threats.ball import Ball
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall

AT_ONCE = 16  # pairs or draws of an example asked in one call, so that few are asked in vain after a find; whatever the model's own batches are
KINDS = (LinfBall, L2Ball)

Draw = Callable[[Tensor, Sequence[int]], Tensor]
"""A random direction (B, *shape) from keys (B, 2)."""


class Guess(NamedTuple):
    """An estimate: value (B,), the mean loss of the points asked for it, and grad (B, ...), of any length."""

    value: Tensor
    grad: Tensor


class Estimator(NamedTuple):
    """init(case) -> memory; estimate(case, memory, z, loss, numbers) -> (Guess, memory).

    numbers: which pairs of the walk to ask, each two points and a draw of its own. pairs: how many a step wants.
    """

    init: Callable[[Case], Any]
    estimate: Callable[[Case, Any, Tensor, Loss, range], tuple[Guess, Any]]
    pairs: int


def gaussian(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Standard normal."""
    return keys.normal(key, shape)


def signs(key: Tensor, shape: Sequence[int]) -> Tensor:
    """-1 or 1, each coordinate by itself (Rademacher)."""
    return 2.0 * (keys.uniform(key, shape) < 0.5) - 1


def antithetic(draw: Draw, pairs: int, size: float) -> Estimator:
    """The mean of (loss(z + size u) - loss(z - size u)) u / (2 size) over random directions u.

    size: in widths of the domain.
    """

    def estimate(case: Case, memory: tuple[()], z: Tensor, loss: Loss, numbers: range) -> tuple[Guess, tuple[()]]:
        total, value = torch.zeros_like(z), torch.zeros(len(z), device=z.device)
        reach = size * width_of(cast(Ball, case.around), "an estimated gradient")
        for part in slices(len(numbers), AT_ONCE):
            ways = [draw(keys.fold(case.key, 1 + number), z.shape[1:]) for number in numbers[part]]
            seen = compared(case, z, [(reach * way, -reach * way) for way in ways], loss)
            for way, rise in zip(ways, seen.rises, strict=True):  # one by one: a sum over pairs may round by the batch
                total = total + column(rise, way) * way
            value = value + seen.total
        return Guess(value / (2 * len(numbers)), total / (2 * reach * len(numbers))), ()

    return Estimator(lambda case: (), estimate, pairs)


class Seen(NamedTuple):
    """What pairs of points said: rises, for each pair the loss at the first less that at the second, (B,); and the sum of
    all their losses, (B,)."""

    rises: list[Tensor]
    total: Tensor


def compared(case: Case, z: Tensor, changes: Sequence[tuple[Tensor, Tensor]], loss: Loss) -> Seen:
    """Ask z + change for both changes (B, ...) of each pair, at the members of the set nearest to these points.

    Being members they are evidence where they meet the goal. A pair that wasn't asked whole, because the example is
    decided or its budget spent, or whose loss is no number, says nothing: 0.
    """
    rows = torch.arange(len(z), device=z.device).repeat(2 * len(changes))
    points = torch.cat([z + change for pair in changes for change in pair])
    told = case.oracle.propose(cast(Ball, case.around.take(rows)).project(points), rows)
    value = loss(told.scores, case.goal.take(rows))
    sound = told.asked & torch.isfinite(value)
    value = torch.where(sound, value, 0).reshape(len(changes), 2, len(z))
    whole = sound.reshape(len(changes), 2, len(z)).all(1)
    rises = [torch.where(good, pair[0] - pair[1], 0) for pair, good in zip(value, whole, strict=True)]
    total = torch.zeros(len(z), device=z.device)
    for pair in value:
        total = total + pair[0] + pair[1]
    return Seen(rises, total)


def climb(estimator: Estimator, loss: Loss, start: Start, step: Step, queries: int, who: str) -> Attack:
    """Estimate the gradient where the step is, move, and so on; then ask the last point.

    A surviving example is asked exactly `queries` points: as many pairs as fit, the last step's fewer than the others',
    the last point, and where that leaves one over, the start.

    Raises:
        UsageError: queries < 1; when it runs, a set other than a linf or l2 ball, an infinite eps, or an unbounded domain.
    """
    at_least_one((queries, "queries"))

    def attack(case: Case) -> None:
        around = ball_of(case, who, KINDS, "linf or l2")
        width_of(around, who)
        if not torch.isfinite(around.radius).all():
            raise UsageError(f"{who} needs a finite eps; for the least distance wrap it: least_radius(...).")
        z = cast(Tensor, start(case))
        state, memory = step.init(case, z), estimator.init(case)
        if queries % 2 == 0:
            case.oracle.scores(z)
        asked, every = 0, (queries - 1) // 2
        while asked < every:
            case, (state, memory) = still_open(case, (state, memory))
            if not len(case.key):
                return
            numbers = range(asked, min(asked + estimator.pairs, every))
            guess, memory = estimator.estimate(case, memory, step.point(case, state), loss, numbers)
            answer = Answer(guess.value, guess.grad, torch.zeros(0))
            state = step.update(case, state, answer, asked // estimator.pairs)
            asked = numbers.stop
        case, state = still_open(case, state)
        if len(case.key):
            case.oracle.scores(step.last(state))

    return attack


def pairs_of(samples: int) -> int:
    """How many pairs that many points are.

    Raises:
        UsageError: fewer than one.
    """
    at_least_one((samples, "samples"))
    return (samples + 1) // 2
