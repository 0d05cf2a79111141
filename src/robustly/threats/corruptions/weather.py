"""Snow and frost."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from robustly.core import keys
from robustly.threats.corruptions.blur import enlarged, filtered
from robustly.threats.corruptions.light import stretched
from robustly.threats.corruptions.severity import strength

GREY = (0.299, 0.587, 0.114)
ICE = (0.82, 0.92, 1.0)
"""The colour of full frost."""


def snow(x: Tensor, severity: int) -> Tensor:
    """The image whitened, and flakes added: bright spots of a random field, enlarged and drawn out downwards.

    They fall straight down here; the authors draw an angle within 45 degrees of that. The flakes are the same for all
    images of a shape.
    """
    small = (
        (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
        (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
    )
    large = (
        (0.1, 0.3, 3.0, 0.5, 10, 4.0, 0.8),
        (0.2, 0.3, 2.0, 0.5, 12, 4.0, 0.7),
        (0.55, 0.3, 4.0, 0.9, 12, 8.0, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8.0, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12.0, 0.55),
    )
    mean, spread, zoom, least, length, sigma, kept = strength(x, severity, small, large)
    flakes = layer(x.shape[2], x.shape[3], mean, spread, zoom, least, length, sigma).to(x.device)
    pale = torch.maximum(x, 1.5 * _grey(x) + 0.5)
    return (kept * x + (1 - kept) * pale + flakes + flakes.flip(0, 1)).clamp(0, 1)


@functools.lru_cache(maxsize=32)
def layer(
    height: int, width: int, mean: float, spread: float, zoom: float, least: float, length: int, sigma: float
) -> Tensor:
    """The flakes alone, float64 (height, width) in [0, 1], stored in 8 bits before they are drawn out."""
    field = mean + spread * keys.normal(keys.from_ids(0, ["snow"]), (1, height, width)).double()
    field = enlarged(field, zoom)
    field = torch.where(field < least, 0, field).clamp(0, 1)
    spots = (field * 255 + 2.0**-20).floor() / 255
    return filtered(spots, [(-i, 0, math.exp(-(i**2) / (2 * sigma**2))) for i in range(2 * length + 1)])[0, 0]


def frost(x: Tensor, severity: int) -> Tensor:
    """The image dimmed and ice laid over it: kept * image + share * ice.

    The authors' ice is cut from six photographs. Here it is made: ridges of random fields of doubling fineness, bluish
    white, the same for all images of a shape. So its shares are theirs and its pattern is not.
    """
    small = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))
    large = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))
    kept, share = strength(x, severity, small, large)
    colour = torch.tensor(ICE if x.shape[1] == 3 else (sum(g * c for g, c in zip(GREY, ICE, strict=True)),)).to(x)
    return (kept * x + share * colour[:, None, None] * ice(x.shape[2], x.shape[3]).to(x)).clamp(0, 1)


@functools.lru_cache(maxsize=32)
def ice(height: int, width: int) -> Tensor:
    """Crystals, float64 (height, width) from 0 to 1: bright along the lines where random fields cross their middle."""
    out, faint, cells = torch.zeros(height, width, dtype=torch.float64), 1.0, 3
    while cells <= 2 * max(height, width):
        corners = keys.uniform(keys.from_ids(0, [f"frost {cells}"]), (cells + 1, cells + 1)).double()[0]
        field = stretched(stretched(corners, height).T, width).T
        out = out + faint * (1 - (2 * field - 1).abs()).square()
        cells, faint = 2 * cells, 0.7 * faint
    out = out - out.amin()
    return out / out.amax().clamp_min(1e-12)


def _grey(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x
    return sum((w * x[:, k : k + 1] for k, w in enumerate(GREY)), torch.zeros_like(x[:, :1]))
