"""From a point of a walk to the member of the set that is asked."""

from __future__ import annotations

from torch import Tensor

from robustly.steps.transforms import walkable
from robustly.steps.types import Case
from robustly.threats.base import Smooth


def member(case: Case, z: Tensor) -> Tensor:
    """The point (B, ...) to ask for a point of the walk: itself, but in sets with gaps, which are walked around."""
    around = case.around
    assert isinstance(around, Smooth)
    return z if walkable(case) is around else around.project(z)
