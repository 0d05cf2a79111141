"""Every pixel's colour may change by at most eps of CIEDE2000, the difference that is seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import Batch, column
from robustly.threats.base import Domain, repeat
from robustly.threats.ciede import ciede2000, to_lab
from robustly.threats.images import image_batch, plain, size, to_unit
from robustly.threats.measured import MeasuredSet

UNIT = 0.01
"""A change of this share of the range in all channels moves lightness by about one."""


@dataclass(frozen=True)
class ColourSet(MeasuredSet):
    """Images each of whose pixels looks as x's to within eps; every pixel is measured and projected on its own.

    own: x in Lab, float64 (B, 3, H, W).
    """

    own: Tensor

    def measure(self, z: Tensor) -> Tensor:
        """CIEDE2000 of each pixel, (B, 1, H, W); that of grey images taken as grey sRGB."""
        return ciede2000(self.own, _lab(z, self.domain))[:, None]

    def steepest(self, g: Tensor) -> Tensor:
        """The sign, since pixels are bounded one by one."""
        return column(self.stride, g) * g.sign()


@dataclass(frozen=True)
class Colour:
    """Every pixel of a grey or sRGB image may change by at most `eps` of CIEDE2000: Colour(5). About 1 is just noticed.

    The measure of Zhao, Liu & Larson 2020 (PerC), arXiv:1911.02466, who take the length of all pixels' differences
    together; here it bounds each pixel.
    """

    eps: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", size(self.eps, "eps of colour"))

    def at(self, x: Batch, domain: Domain = Domain()) -> ColourSet:  # noqa: B008 - frozen
        x = image_batch(x, domain, str(self))
        if x.shape[1] not in (1, 3):
            raise UsageError(f"{self} is for grey or sRGB images (1 or 3 channels first), got {tuple(x.shape[1:])}.")
        stride = torch.full((len(x),), UNIT * (domain.high - domain.low), device=x.device)
        return ColourSet(x, repeat(self.eps, x), domain, stride, _lab(x, domain))

    def __str__(self) -> str:
        return f"colour:{plain(self.eps)}"


def _lab(z: Tensor, domain: Domain) -> Tensor:
    return to_lab(to_unit(z, domain).expand(-1, 3, -1, -1))
