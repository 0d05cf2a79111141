"""What storage does to an image: fewer pixels, JPEG."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from robustly.threats.corruptions.severity import strength

LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""ITU-T T.81, table K.1: how coarsely each frequency is stored at quality 50."""
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8 for _ in range(4)),
)
"""Table K.2."""
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
FROM_YCC = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
"""JFIF 1.02."""
MIDDLE = torch.tensor([0.0, 128.0, 128.0], dtype=torch.float64)[:, None, None]
"""What no colour is stored as."""


def pixelate(x: Tensor, severity: int) -> Tensor:
    """Averaged down to a share of the size, and enlarged again by repeating pixels."""
    share = strength(x, severity, (0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25))
    few = [max(int(side * share), 1) for side in x.shape[2:]]
    small = F.adaptive_avg_pool2d(x, (few[0], few[1]))
    rows, columns = (
        (torch.arange(side, device=x.device) * n / side).long() for side, n in zip(x.shape[2:], few, strict=True)
    )
    return small[:, :, rows][:, :, :, columns]


def jpeg(x: Tensor, severity: int) -> Tensor:
    """Through the lossy part of JPEG at a quality, in 8 by 8 blocks; three channels as luminance and two of colour.

    Colour keeps its full resolution here; the authors' encoder halves it.
    """
    quality = strength(x, severity, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7))
    height, width = x.shape[2:]
    levels = _rounded(255 * x)
    colour = x.shape[1] == 3
    planes = _rounded(_mixed(levels, TO_YCC) + MIDDLE.to(x)) if colour else levels
    planes = planes - 128
    planes = F.pad(planes, (0, -width % 8, 0, -height % 8), mode="replicate")
    tables = [LUMINANCE, CHROMINANCE, CHROMINANCE] if colour else [LUMINANCE] * x.shape[1]
    coarse = torch.stack([_table(t, quality) for t in tables]).to(x)[:, None, :, None, :]
    basis = _cosines().to(x)
    blocks = planes.unflatten(3, (-1, 8)).unflatten(2, (-1, 8))  # (B, C, h, 8, w, 8)
    stored = _rounded(torch.einsum("ui,bchiwj,vj->bchuwv", basis, blocks, basis) / coarse)
    blocks = torch.einsum("ui,bchuwv,vj->bchiwj", basis, stored * coarse, basis)
    planes = _rounded(blocks.flatten(4, 5).flatten(2, 3)[:, :, :height, :width] + 128).clamp(0, 255)
    if colour:
        planes = _rounded(_mixed(planes - MIDDLE.to(x), FROM_YCC)).clamp(0, 255)
    return planes / 255


def _rounded(value: Tensor) -> Tensor:
    """To the nearest whole number; what is a half but for rounding of float64 is a half, in any batch."""
    return ((value * 2**20).round() / 2**20).round()


def _mixed(x: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    rows = [sum(w * x[:, k] for k, w in enumerate(row)) for row in matrix]
    return torch.stack([row for row in rows if isinstance(row, Tensor)], 1)


def _table(table: tuple[tuple[int, ...], ...], quality: int) -> Tensor:
    """The table at a quality, as the Independent JPEG Group scales it."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(table, dtype=torch.float64) * scale + 50) / 100).floor().clamp(1, 255)


def _cosines() -> Tensor:
    """The orthonormal cosine transform of 8 numbers, float64 (8, 8)."""
    k = torch.arange(8, dtype=torch.float64)
    basis = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    return basis
