"""The image as if printed on rubber: stretched as a whole, and a little everywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from robustly.core import keys
from robustly.threats.corruptions.severity import strength

TRUNCATE = 3.0
"""The Gaussian that smooths the displacements ends after so many standard deviations."""


def elastic_transform(x: Tensor, severity: int) -> Tensor:
    """An affine map of three points moved at random, then random displacements smoothed by a Gaussian, both bilinear.

    The authors' numbers are shares of the side (of 244 pixels where theirs is 224, by a slip that they note). The points
    and the displacements are the same for all images of a shape.
    """
    small = ((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
    large = tuple(
        (a * 244 / 224, b * 244 / 224, c * 244 / 224)
        for a, b, c in ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
    )
    far, smooth, corner = strength(x, severity, small, large)
    height, width = x.shape[2:]
    side = min(height, width)
    stretched = sampled(x, *affine(height, width, corner * side), border=whole)
    down, right = (
        far * side * displacement(name, height, width, smooth * side) for name in ("elastic down", "elastic right")
    )
    rows, columns = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    return sampled(stretched, rows + down, columns + right, border=half).clamp(0, 1)


def affine(height: int, width: int, far: float) -> tuple[Tensor, Tensor]:
    """Rows and columns, each float64 (height, width), at which to read the image for the map that moves three points.

    The points stand a third of the side from the middle: below right, below left of it, above left; each moves by up to
    `far` along both axes.
    """
    third, middle = min(height, width) // 3, torch.tensor([height // 2, width // 2], dtype=torch.float64)
    before = middle + third * torch.tensor([[1, 1], [1, -1], [-1, -1]], dtype=torch.float64)
    chance = keys.uniform(keys.from_ids(0, ["elastic corners"]), (3, 2)).double()[0]
    after = before + far * (2 * chance - 1)
    rows, columns = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    if third == 0:
        return rows, columns  # the three points are one
    back = from_where(after.tolist(), before.tolist())
    at = rows[..., None] * back[0] + columns[..., None] * back[1] + back[2]
    return at[..., 0], at[..., 1]


def from_where(after: list[list[float]], before: list[list[float]]) -> Tensor:
    """The affine map, float64 (3, 2), that takes three points (row, column) to three others, by Cramer's rule.

    No solver: its last bits would differ by machine.
    """
    (r1, c1), (r2, c2), (r3, c3) = after
    area = (r1 - r3) * (c2 - c3) - (r2 - r3) * (c1 - c3)
    columns = []
    for v1, v2, v3 in zip(*before, strict=True):
        down = ((v1 - v3) * (c2 - c3) - (v2 - v3) * (c1 - c3)) / area
        right = ((v2 - v3) * (r1 - r3) - (v1 - v3) * (r2 - r3)) / area
        columns.append([down, right, v3 - down * r3 - right * c3])
    return torch.tensor(columns, dtype=torch.float64).T


@functools.lru_cache(maxsize=32)
def displacement(name: str, height: int, width: int, sigma: float) -> Tensor:
    """Uniform numbers of [-1, 1) smoothed by a Gaussian, float64 (height, width)."""
    field = 2 * keys.uniform(keys.from_ids(0, [name]), (height, width)).double()[0] - 1
    smooth = smoothing(height, sigma) @ field @ smoothing(width, sigma).T
    return (smooth * 2**30).round() / 2**30  # the last bits of a product of matrices differ by machine


def smoothing(count: int, sigma: float) -> Tensor:
    """The Gaussian blur of `count` numbers as a matrix; beyond the ends they go on as in a mirror."""
    if sigma <= 0:
        return torch.eye(count, dtype=torch.float64)
    far = int(TRUNCATE * sigma + 0.5)
    place = torch.arange(-far, far + 1)
    weight = torch.exp(-(place.double() ** 2) / (2 * sigma**2))
    out = torch.zeros(count, count, dtype=torch.float64)
    for row in range(count):
        out[row].index_add_(0, half(place + row, count), weight / weight.sum())
    return out


def sampled(x: Tensor, rows: Tensor, columns: Tensor, border: Callable[[Tensor, int], Tensor]) -> Tensor:
    """The image read at those places, each (H, W), bilinear; `border` says which pixel stands beyond it."""
    top, left = rows.floor(), columns.floor()
    down, right = (rows - top).to(x), (columns - left).to(x)
    out = torch.zeros_like(x)
    for i, share in ((0, 1 - down), (1, down)):
        for k, other in ((0, 1 - right), (1, right)):
            at = border((top + i).long(), x.shape[2]), border((left + k).long(), x.shape[3])
            out = out + share * other * x[:, :, at[0].to(x.device), at[1].to(x.device)]
    return out


def half(place: Tensor, count: int) -> Tensor:
    """Mirrored with the last pixel repeated: d c b a | a b c d | d c b a."""
    turned = place.remainder(2 * count)
    return torch.where(turned < count, turned, 2 * count - 1 - turned)


def whole(place: Tensor, count: int) -> Tensor:
    """Mirrored at the last pixel: d c b | a b c d | c b a."""
    if count == 1:
        return torch.zeros_like(place)
    turned = place.remainder(2 * count - 2)
    return torch.where(turned < count, turned, 2 * count - 2 - turned)
