"""Patch-wise steps: larger than eps allows, and what is cut off pushed to the pixels around."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.steps.transforms import Named, walkable
from robustly.steps.types import Case
from robustly.steps.views import pictures
from robustly.steps.walk import positive
from robustly.threats.linf import LinfBall


@spec("transform", paper="Gao et al. 2020, arXiv:2007.06765, algorithm 1")
def patches(amplification: float = 10.0, width: int = 3) -> Named:
    """The step made `amplification` times as long; what the sum of steps then has beyond eps goes to the pixels around.

    It takes a step under linf (`after` the sign and the length), and gives one: a + g sign(W c), where c is the part of the
    sum that lies beyond eps, W the mean over the other pixels of a square, and g the length of the amplified step.

    Raises:
        UsageError: amplification not above 0, width < 2; when it runs, a set that is no linf ball.
    """
    positive(amplification, "amplification")
    if width < 2:
        raise UsageError(f"width must be at least 2 pixels, got {width}.")

    def update(case: Case, total: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        around = walkable(case)
        if not isinstance(around, LinfBall):
            raise UsageError(f"patches are made of steps in a linf ball, not in {type(around).__name__}.")
        step = amplification * change
        total = total + step
        beyond = (total.abs() - column(around.radius, total)).clamp_min(0) * total.sign()
        length = column(step.abs().flatten(1).amax(1), step)
        pushed = length * neighbours(pictures(beyond), width).view_as(beyond).sign()
        return step + pushed, total + pushed

    return Named(lambda case, z: torch.zeros_like(z), update)


def neighbours(image: Tensor, width: int) -> Tensor:
    """The sum over the square around each pixel of images (B, C, H, W) but for itself, over how many those are."""
    before, (height, across) = width // 2, image.shape[2:]
    wide = F.pad(image, (before, width - 1 - before, before, width - 1 - before))
    shifted = [
        wide[:, :, i : i + height, j : j + across]
        for i in range(width)
        for j in range(width)
        if (i, j) != (before, before)
    ]
    return torch.stack(shifted).sum(0) / len(shifted)
