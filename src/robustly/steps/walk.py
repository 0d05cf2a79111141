"""Steps that move a point, and the loop that drives them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import Batch, column, take
from robustly.oracle import Answer
from robustly.oracle.answers import Loss
from robustly.steps.counts import at_least_one
from robustly.steps.transforms import walkable
from robustly.steps.types import Attack, Case, Start, Step, Transform
from robustly.threats.base import Smooth
from robustly.threats.l1 import L1Ball


class Walk(NamedTuple):
    """A point (B, ...) and the state of the transform that moves it."""

    z: Tensor
    memory: Any


def projected(transform: Transform) -> Step:
    """z <- project(z + transform(gradient))."""

    def init(case: Case, z: Tensor) -> Walk:
        return Walk(z, transform.init(case, z))

    def update(case: Case, state: Walk, answer: Answer, index: int) -> Walk:
        change, memory = transform.update(_seen_from(case, state.z), state.memory, answer.grad)
        return Walk(walkable(case).project(state.z + change), memory)

    return Step(init, lambda case, state: state.z, update, lambda state: state.z)


def _seen_from(case: Case, z: Tensor) -> Case:
    """The case with an l1 ball whose steepest direction is looked for among the coordinates that can still move at z.

    In l1 that direction is one coordinate: without this a walk would go on pushing the first one against its bound.
    """
    around = walkable(case)
    return case._replace(around=replace(around, x=z)) if isinstance(around, L1Ball) else case


def looking_ahead(transform: Transform, size: float, decay: float) -> Step:
    """The same, asked at the point that the momentum would lead to (Lin et al. 2020, arXiv:1908.06281, eq. 6).

    The transform's state is the momentum. The paper leaves the point ahead unprojected; here it is projected, so that
    asking it is evidence.
    """
    plain = projected(transform)

    def point(case: Case, state: Walk) -> Tensor:
        around = walkable(case)
        momentum = state.memory[0]
        return around.project(state.z + size * decay * column(around.radius, momentum) * momentum)

    return Step(plain.init, point, plain.update, plain.last)


def ascend(loss: Loss, start: Start, step: Step, steps: int) -> Attack:
    """Ask the gradient at the step's point, move, `steps` times; then ask the last point.

    Rows that are decided are dropped from the walk as it goes, so they cost no arithmetic either.

    Raises:
        UsageError: steps < 1.
    """
    at_least_one((steps, "steps"))

    def attack(case: Case) -> None:
        walkable(case)
        state = step.init(case, cast(Tensor, start(case)))
        for index in range(steps):
            case, state = still_open(case, state)
            if not len(case.key):
                return
            answer = case.oracle.gradient(_home(case, step.point(case, state)), loss, case.goal)
            state = step.update(case, state, answer, index)
        case, state = still_open(case, state)
        if len(case.key):
            case.oracle.scores(_home(case, step.last(state)))

    return attack


def _home(case: Case, z: Tensor) -> Tensor:
    """The member to ask for a point of the walk: the point, but in sets with gaps."""
    around = case.around
    assert isinstance(around, Smooth)
    return z if around.walk is around else around.project(z)


def still_open(case: Case, state: Any) -> tuple[Case, Any]:
    """The case and the state without their decided rows, if any."""
    index = case.oracle.still_open()
    return (case, state) if index is None else (case.take(index), rows_of(state, index))


def rows_of(state: Any, index: Tensor) -> Any:
    """The rows of every tensor and tuple of texts in a nested tuple."""
    if isinstance(state, Tensor) or (isinstance(state, tuple) and state and isinstance(state[0], str)):
        return take(cast(Batch, state), index)
    if isinstance(state, tuple):
        parts = [rows_of(part, index) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


def positive(value: float, what: str) -> float:
    """The value, if it is a finite number above 0.

    Raises:
        UsageError: it isn't.
    """
    if not (0 < value < float("inf")):
        raise UsageError(f"{what} must be a finite number above 0, got {value:g}.")
    return value


def zeros(case: Case) -> Tensor:
    """A float a row, zero."""
    return torch.zeros(len(case.key), device=case.key.device)
