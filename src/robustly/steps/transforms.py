"""Transforms: small reshapings of an update, composed by `chain`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.steps.types import Case, Transform
from robustly.threats.base import Smooth


class Named(Transform):
    """A transform that can carry its spec, so that a record names it and a plan file can ask for it."""


def chain(*transforms: Transform) -> Transform:
    """Transforms one after the other."""

    def init(case: Case, z: Tensor) -> tuple[Any, ...]:
        return tuple(t.init(case, z) for t in transforms)

    def update(case: Case, state: tuple[Any, ...], change: Tensor) -> tuple[Tensor, tuple[Any, ...]]:
        out = []
        for transform, own in zip(transforms, state, strict=True):
            change, own = transform.update(case, own, change)
            out.append(own)
        return change, tuple(out)

    return Transform(init, update)


def steepest() -> Transform:
    """The steepest direction in the set's norm: the sign for linf, the unit vector for l2."""
    return _stateless(lambda case, change: walkable(case).steepest(change))


def by_radius(fraction: float = 1.0) -> Transform:
    """That fraction of each example's eps, so that step sizes do not depend on the radius.

    Raises:
        UsageError: an infinite radius.
    """

    def update(case: Case, change: Tensor) -> Tensor:
        radius = walkable(case).radius
        if not torch.isfinite(radius).all():
            raise UsageError(
                "a walk of fixed radius needs a finite eps; for the least distance use an attack such as cw, or wrap this "
                "one: least_radius(...)."
            )
        return change * column(radius * fraction, change)

    return _stateless(update)


@spec("transform", paper="Dong et al. 2018, arXiv:1710.06081")
def momentum(decay: float = 1.0) -> Transform:
    """g <- decay g + change / mean|change| (Dong et al. 2018, arXiv:1710.06081, eq. 6)."""

    def update(case: Case, state: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        mean = change.flatten(1).abs().mean(1).clamp_min(1e-30)
        state = decay * state + change / column(mean, change)
        return state, state

    return Named(lambda case, z: torch.zeros_like(z), update)


def walkable(case: Case) -> Smooth:
    """The set an ascent of this case walks in: the case's own, or the one around its gaps.

    Raises:
        UsageError: a discrete set, such as edits of a text.
    """
    if not isinstance(case.around, Smooth):
        raise UsageError(
            f"this attack follows gradients and cannot walk in {type(case.around).__name__}; for texts use greedy."
        )
    return case.around.walk


def _stateless(change: Any) -> Transform:
    return Transform(lambda case, z: (), lambda case, state, g: (change(case, g), state))
