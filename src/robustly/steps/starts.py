"""Where a walk begins."""

from __future__ import annotations

import torch

from robustly.core.keys import fold, normal
from robustly.core.rows import Batch, column
from robustly.core.specs import register
from robustly.steps.transforms import by_radius, walkable
from robustly.steps.types import Case
from robustly.threats.l0 import L0Ball
from robustly.threats.l1 import L1Ball
from robustly.threats.patch import PatchSet


@register("start")
def clean(case: Case) -> Batch:
    """The unperturbed input."""
    return case.around.x


@register("start")
def uniform(case: Case) -> Batch:
    """A random member of the set."""
    return case.around.sample(fold(case.key, 0))


@register("start", paper="Croce & Hein 2020 and 2021, arXiv:2003.01690 and 2103.01208, the start of their code")
def surface(case: Case) -> Batch:
    """A random member moved straight away from the input until it is eps away, then projected.

    In l1 it is noise, normal with the width of each coordinate's range (eps where there is none), projected: a sparse
    point, where the other would be dense. In l0, and in a patch, a random member already is as far away as the set allows.
    """
    around = walkable(case)
    if isinstance(around, L1Ball):
        step = by_radius().update(case, (), torch.ones_like(around.x))[0]
        width = torch.where(torch.isfinite(around.high - around.low), around.high - around.low, step)
        return around.project(around.x + width * normal(fold(case.key, 0), around.x.shape[1:]))
    if isinstance(around, (L0Ball, PatchSet)):
        return around.sample(fold(case.key, 0))
    change = around.sample(fold(case.key, 0)) - around.x
    length = around.distance(around.x + change).clamp_min(1e-30).to(change.dtype)
    unit = change / column(length, change)
    return around.project(around.x + by_radius().update(case, (), unit)[0])
