"""The walk of the transfer attacks: gradients through views, reshaped, and taken where a momentum leads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.keys import fold
from robustly.core.rows import column
from robustly.oracle.answers import Loss
from robustly.steps.counts import at_least_one
from robustly.steps.members import member
from robustly.steps.transforms import by_radius, chain, steepest, walkable
from robustly.steps.types import Attack, Case, Start, Transform
from robustly.steps.variance import situated
from robustly.steps.views import View, through
from robustly.steps.walk import Walk, positive, still_open


def transferable(
    views: Sequence[View],
    then: Sequence[Transform],
    after: Sequence[Transform],
    *,
    steps: int,
    size: float,
    ahead: float,
    loss: Loss,
    start: Start,
) -> Attack:
    """A walk of `steps` steps, see `transfer_pgd`; every copy is a forward and a backward pass, and the last point is asked.

    Raises:
        UsageError: steps < 1, size not above 0, ahead negative, or above 0 without a momentum.
    """
    positive(size, "size")
    at_least_one((steps, "steps"))
    if not 0 <= ahead < float("inf"):
        raise UsageError(f"ahead is a finite number, at least 0, got {ahead:g}.")
    place = _momentum(then) if ahead else -1
    whole = chain(*then, steepest(), by_radius(size), *after)

    def attack(case: Case) -> None:
        z = cast(Tensor, start(case))
        state = Walk(z, whole.init(case, z))
        for index in range(steps):
            case, state = still_open(case, state)
            if not len(case.key):
                return
            state = step(case._replace(key=fold(case.key, 1 + index)), state, index == steps - 1)
        case, state = still_open(case, state)
        if len(case.key):
            case.oracle.scores(member(case, state.z))

    def step(case: Case, state: Walk, last: bool) -> Walk:
        around = walkable(case)
        point = state.z
        if place >= 0:
            momentum = state.memory[place]
            point = around.project(point + ahead * size * column(around.radius, point) * momentum)
        grad = through(views, case, member(case, point), loss, fold(case.key, 0)).grad

        def slope(z: Tensor, turn: int) -> Tensor:
            return through(views, case, z, loss, fold(case.key, 1, turn)).grad

        here = situated(case._replace(key=fold(case.key, 2)), state.z, slope, last)
        change, memory = whole.update(here, state.memory, grad)
        return Walk(around.project(state.z + change), memory)

    return attack


def _momentum(then: Sequence[Transform]) -> int:
    """Where the momentum stands among them.

    Raises:
        UsageError: nowhere.
    """
    names = [getattr(cast(Any, one), "spec", None) for one in then]
    found = [i for i, spec in enumerate(names) if spec is not None and spec.name == "momentum"]
    if not found:
        raise UsageError("to look ahead is to follow a momentum: write then=[..., momentum()], or ahead=0.")
    return found[0]
