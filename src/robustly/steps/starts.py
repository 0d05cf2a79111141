"""Where a walk begins."""

from __future__ import annotations

from robustly.core.keys import fold
from robustly.core.rows import Batch, column
from robustly.core.specs import register
from robustly.steps.transforms import by_radius, walkable
from robustly.steps.types import Case


@register("start")
def clean(case: Case) -> Batch:
    """The unperturbed input."""
    return case.around.x


@register("start")
def uniform(case: Case) -> Batch:
    """A random member of the set."""
    return case.around.sample(fold(case.key, 0))


@register("start", paper="Croce & Hein 2020, arXiv:2003.01690, the start of their code")
def surface(case: Case) -> Batch:
    """A random member moved straight away from the input until it is eps away, then projected."""
    around = walkable(case)
    change = around.sample(fold(case.key, 0)) - around.x
    length = around.distance(around.x + change).clamp_min(1e-30).to(change.dtype)
    unit = change / column(length, change)
    return around.project(around.x + by_radius().update(case, (), unit)[0])
