"""Translation invariance: the mean gradient of shifted copies, had by blurring the gradient."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.specs import spec
from robustly.steps.counts import at_least_one
from robustly.steps.transforms import Named
from robustly.steps.types import Case
from robustly.steps.views import pictures


@spec("transform", paper="Dong et al. 2019, arXiv:1904.02884, eq. 7")
def ti(width: int = 7, deviations: float = 3.0) -> Named:
    """Every channel of the gradient blurred by a Gaussian kernel: the weighted mean of it shifted by each place of that.

    The paper's kernel is 15 pixels wide for images of 299; later work takes 7. An input that is no image (C, H, W) is
    blurred along its line of numbers.

    Args:
        width: of the kernel, in pixels.
        deviations: how many standard deviations the kernel reaches to each side.

    Raises:
        UsageError: width < 1, deviations not above 0.
    """
    at_least_one((width, "width"))
    if not 0 < deviations < float("inf"):
        raise UsageError(f"deviations must be a finite number above 0, got {deviations:g}.")
    weights = gaussian(width, deviations)

    def update(case: Case, state: tuple[()], change: Tensor) -> tuple[Tensor, tuple[()]]:
        return blurred(pictures(change), weights).view_as(change), state

    return Named(lambda case, z: (), update)


def gaussian(width: int, deviations: float) -> tuple[float, ...]:
    """Weights (width,) of a line of the kernel, which sum up to 1."""
    place = torch.linspace(-deviations, deviations, width, dtype=torch.float64) if width > 1 else torch.zeros(1)
    bell = torch.exp(-place.square() / 2)
    return tuple((bell / bell.sum()).tolist())


def blurred(image: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Both axes of images (B, C, H, W) blurred by the same line of weights, 0 beyond the edge; of a line its own axis."""
    for axis in (2, 3):
        if image.shape[2] > 1 or axis == 3:
            image = _along(image, weights, axis)
    return image


def _along(image: Tensor, weights: tuple[float, ...], axis: int) -> Tensor:
    """One axis blurred, as a sum of shifted images: unlike a convolution it has the same bits in any batch."""
    side, before = image.shape[axis], (len(weights) - 1) // 2
    after = len(weights) - 1 - before
    wide = F.pad(image, (0, 0, before, after) if axis == 2 else (before, after))
    return torch.stack([w * wide.narrow(axis, k, side) for k, w in enumerate(weights)]).sum(0)
