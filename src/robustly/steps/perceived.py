"""How the features of a network change with the image: what perceptual attacks steer by. None of it asks the model."""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.steps.types import Case
from robustly.threats.features import FeatureSet, features, traced_features


def feature_set(case: Case, who: str) -> FeatureSet:
    """The case's set.

    Raises:
        UsageError: it isn't that of `Features`.
    """
    if not isinstance(case.around, FeatureSet):
        raise UsageError(
            f"{who} walks in the sets of Features, not in {type(case.around).__name__}; for others use pgd."
        )
    return case.around


def seen(around: FeatureSet, z: Tensor) -> Tensor:
    """The features of z, float64 (B, F)."""
    return features(around.network, around.layers, z)


def pulled_back(around: FeatureSet, z: Tensor, weights: Tensor) -> Tensor:
    """The gradient at z of <weights, features>, for weights (B, F): float64 like z."""
    point = z.detach().double().requires_grad_()
    with torch.enable_grad():
        value = (traced_features(around.network, around.layers, point) * weights).sum()
        (grad,) = torch.autograd.grad(value, point, allow_unused=True)
    return torch.zeros_like(point) if grad is None else torch.nan_to_num(grad, nan=0.0, posinf=0.0, neginf=0.0)


def away(around: FeatureSet, z: Tensor) -> tuple[Tensor, Tensor]:
    """The distance of z, (B,), and its gradient like z; both float64, the gradient 0 at the input itself."""
    apart = seen(around, z) - around.own
    far = apart.norm(dim=1)
    return far, pulled_back(around, z, apart / far.clamp_min(1e-30)[:, None])


def pushed(around: FeatureSet, z: Tensor, at_z: Tensor, way: Tensor, reach: float) -> Tensor:
    """How the features of z, at_z (B, F), change along `way` (like z), a unit of it: float64 (B, F).

    By a finite difference over a step of that many widths of the domain, as the authors of LPIPS attacks do.
    """
    step = reach * (around.domain.high - around.domain.low)
    length = way.double().flatten(1).norm(dim=1).clamp_min(1e-30)
    there = seen(around, z.double() + step * way.double() / column(length, z.double()))
    return (there - at_z) * (length / step)[:, None]
