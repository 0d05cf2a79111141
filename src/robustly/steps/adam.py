"""Adam as a transform of updates."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.steps.types import Case, Transform
from robustly.steps.walk import zeros

FLOOR = 1e-20  # added to the root of the second moment; so small that the units of a gradient don't matter


class Moments(NamedTuple):
    """Running means of the update and of its square, each (B, ...), and the updates so far, (B,)."""

    first: Tensor
    second: Tensor
    updates: Tensor


def adam(first: float = 0.9, second: float = 0.999) -> Transform:
    """m / sqrt(v) with running means m of the update and v of its square (Kingma & Ba 2015, arXiv:1412.6980, alg. 1).

    The first change is the sign of the update; later ones are smaller where the updates contradict each other.

    Raises:
        UsageError: first or second not at least 0 and below 1.
    """
    for value, what in ((first, "first"), (second, "second")):
        if not 0 <= value < 1:
            raise UsageError(f"{what} is a decay, at least 0 and below 1; got {value:g}.")

    def init(case: Case, z: Tensor) -> Moments:
        none = torch.zeros_like(z)
        return Moments(none, none, zeros(case))

    def update(case: Case, state: Moments, change: Tensor) -> tuple[Tensor, Moments]:
        count = state.updates + 1
        m = first * state.first + (1 - first) * change
        v = second * state.second + (1 - second) * change.square()
        root = (v / column(1 - second**count, v)).sqrt()
        return m / column(1 - first**count, m) / (root + FLOOR), Moments(m, v, count)

    return Transform(init, update)
