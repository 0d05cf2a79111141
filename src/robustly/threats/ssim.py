"""The image's structure may change by at most eps: mean SSIM of at least 1 - eps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import Batch
from robustly.threats.base import Domain, repeat
from robustly.threats.images import image_batch, plain, size, to_unit
from robustly.threats.measured import MeasuredSet

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


@dataclass(frozen=True)
class SsimSet(MeasuredSet):
    """Images whose mean SSIM with x is at least 1 - eps."""

    def measure(self, z: Tensor) -> Tensor:
        """1 - SSIM, (B, 1, 1, 1)."""
        return 1 - ssim(to_unit(self.x, self.domain), to_unit(z, self.domain))[:, None, None, None]


@dataclass(frozen=True)
class Ssim:
    """Structural similarity of at least 1 - eps, for eps at most 2: Ssim(0.1). Distance is 1 - SSIM."""

    eps: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", size(self.eps, "eps of ssim"))
        if self.eps > 2:
            raise UsageError(f"SSIM lies between -1 and 1, so eps of ssim is at most 2, got {plain(self.eps)}.")

    def at(self, x: Batch, domain: Domain = Domain()) -> SsimSet:  # noqa: B008 - frozen
        x = image_batch(x, domain, str(self))
        return SsimSet(x, repeat(self.eps, x), domain, torch.zeros(len(x), device=x.device)).paced()

    def __str__(self) -> str:
        return f"ssim:{plain(self.eps)}"


def ssim(one: Tensor, other: Tensor) -> Tensor:
    """Mean structural similarity (B,) of images in [0, 1], float64 (B, C, H, W).

    Wang, Bovik, Sheikh & Simoncelli 2004, "Image quality assessment: from error visibility to structural similarity",
    eq. 13, with a Gaussian window of 11 by 11 (the largest odd number that fits, where the image is smaller) that stays
    inside the image; the mean over places and channels.
    """
    rows, columns = (_window(side).to(one) for side in one.shape[2:])
    m1, m2, s11, s22, s12 = (_blurred(t, rows, columns) for t in (one, other, one * one, other * other, one * other))
    v1, v2, cov = s11 - m1 * m1, s22 - m2 * m2, s12 - m1 * m2
    c1, c2 = K1**2, K2**2
    found = (2 * m1 * m2 + c1) * (2 * cov + c2) / ((m1 * m1 + m2 * m2 + c1) * (v1 + v2 + c2))
    return found.flatten(1).mean(1)


def _window(side: int) -> Tensor:
    length = min(WINDOW, side - (side + 1) % 2)
    place = torch.arange(length, dtype=torch.float64) - length // 2
    weight = torch.exp(-(place**2) / (2 * SIGMA**2))
    return weight / weight.sum()


def _blurred(z: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Weighted means over all windows inside, as sums of whole images: the same bits in any batch."""
    height, width = z.shape[2] - len(rows) + 1, z.shape[3] - len(columns) + 1
    z = sum((w * z[:, :, k : k + height] for k, w in enumerate(rows)), torch.zeros_like(z[:, :, :height]))
    return sum((w * z[..., k : k + width] for k, w in enumerate(columns)), torch.zeros_like(z[..., :width]))
