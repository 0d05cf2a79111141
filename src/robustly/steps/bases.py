"""Orthonormal bases of images, whose vectors are the directions of a coordinate search."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.specs import register
from robustly.steps.cosines import cosines

LOWEST = 8  # the lowest 1/8 of the frequencies along each side come first (section 3.2 of SimBA)


class Basis(NamedTuple):
    """down: (H, H), across: (W, W), whose rows are orthonormal; a vector of the basis is the outer product of a row of each.
    band: int64 (H, W), which of the vectors come first: those of the lowest number."""

    down: Tensor
    across: Tensor
    band: Tensor

    def vectors(self, index: Tensor, channels: int) -> Tensor:
        """The vectors (B, C, H, W) of the numbers (B,), which count through channels, rows of `down` and of `across`."""
        height, width = self.band.shape
        place = index % (height * width)
        plane = self.down[place // width][:, :, None] * self.across[place % width][:, None, :]
        own = torch.arange(channels, device=index.device) == (index // (height * width))[:, None]
        return own[:, :, None, None] * plane[:, None]


Bases = Callable[[int, int], Basis]
"""The basis for images of that height and width."""


@register("basis")
def pixel(height: int, width: int) -> Basis:
    """One number at a time."""
    return Basis(torch.eye(height), torch.eye(width), torch.zeros(height, width, dtype=torch.int64))


@register("basis", paper="Guo et al. 2019, arXiv:1905.07121, section 3.2; Ahmed, Natarajan & Rao 1974")
def dct(height: int, width: int) -> Basis:
    """The discrete cosine transform (DCT-II), low frequencies first: those below 1/8 of the sides, then below 1/4, ..."""
    rows, columns = (torch.arange(n) * LOWEST for n in (height, width))
    band = torch.maximum(_doublings(rows, height)[:, None], _doublings(columns, width)[None])
    return Basis(cosines(height, height).T.float(), cosines(width, width).T.float(), band)


def _doublings(frequency: Tensor, count: int) -> Tensor:
    """How often `count` is doubled until it is above each frequency, int64."""
    return sum(((frequency >= count * 2**i).long() for i in range(LOWEST.bit_length())), torch.zeros_like(frequency))
