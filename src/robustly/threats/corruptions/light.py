"""Light and weather: fog, brightness, contrast."""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.core import keys
from robustly.threats.corruptions.severity import strength


def brightness(x: Tensor, severity: int) -> Tensor:
    """The value of HSV (the largest channel) raised; hue and saturation stay."""
    rise = strength(x, severity, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5))
    value = x.amax(1, keepdim=True)
    raised = (value + rise).clamp(0, 1)
    return torch.where(value > 0, x * (raised / value.clamp_min(1e-12)), raised)


def contrast(x: Tensor, severity: int) -> Tensor:
    """Drawn towards the mean of each channel."""
    kept = strength(x, severity, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05))
    mean = x.mean((2, 3), keepdim=True)
    return ((x - mean) * kept + mean).clamp(0, 1)


def fog(x: Tensor, severity: int) -> Tensor:
    """A cloud added, then all scaled back to the image's own maximum.

    The cloud is a sum of random fields of doubling fineness, each `decay` times as faint as the one before, scaled to
    [0, 1] and the same for all images of a shape; the authors' is made by midpoint displacement.
    """
    small = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))
    large = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))
    weight, decay = strength(x, severity, small, large)
    brightest = x.amax((1, 2, 3), keepdim=True)
    return ((x + weight * cloud(x.shape[2], x.shape[3], decay).to(x.device)) * brightest / (brightest + weight)).clamp(
        0, 1
    )


def cloud(height: int, width: int, decay: float) -> Tensor:
    """The random field of that shape, float64 in [0, 1]."""
    out, faint, cells = torch.zeros(height, width, dtype=torch.float64), 1.0, 1
    while cells <= max(height, width):
        corners = keys.uniform(keys.from_ids(0, [f"fog {cells}"]), (cells + 1, cells + 1)).double()[0]
        out = out + faint * stretched(stretched(corners, height).T, width).T
        cells, faint = 2 * cells, faint / decay
    out = out - out.amin()
    return out / out.amax().clamp_min(1e-12)


def stretched(field: Tensor, count: int) -> Tensor:
    """So many rows in place of those of a field, linear between them."""
    place = torch.linspace(0, len(field) - 1, count, dtype=torch.float64)
    first = place.floor().long().clamp_max(len(field) - 2)
    return field[first] + (place - first)[:, None] * (field[first + 1] - field[first])
