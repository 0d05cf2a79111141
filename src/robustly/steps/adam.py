"""Adam as a transform of updates."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from robustly.core.rows import column
from robustly.steps.moments import Moments, direction, no_moments, remembered
from robustly.steps.types import Case, Transform
from robustly.steps.walk import zeros

FLOOR = 1e-20  # added to the root of the second moment; so small that the units of a gradient don't matter


class Averaged(NamedTuple):
    """The moments of the updates, and how many there were, (B,)."""

    moments: Moments
    updates: Tensor


def adam() -> Transform:
    """m / sqrt(v) with running means m of the update and v of its square (Kingma & Ba 2015, arXiv:1412.6980, alg. 1).

    The first change is the sign of the update; later ones are smaller where the updates contradict each other.
    """

    def init(case: Case, z: Tensor) -> Averaged:
        return Averaged(no_moments(z), zeros(case))

    def update(case: Case, state: Averaged, change: Tensor) -> tuple[Tensor, Averaged]:
        count, moments = state.updates + 1, remembered(state.moments, change)
        mean, root = direction(moments, column(count, change), FLOOR)
        return mean / root, Averaged(moments, count)

    return Transform(init, update)
