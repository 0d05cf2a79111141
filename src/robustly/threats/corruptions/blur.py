"""Blur of the lens or of motion."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustly.threats.corruptions.severity import strength

Taps = list[tuple[int, int, float]]  # rows down, columns right, weight


def defocus_blur(x: Tensor, severity: int) -> Tensor:
    """Averaged over a disk, whose rim is softened by a small Gaussian."""
    small = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))
    large = ((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5))
    return filtered(x, disk(*strength(x, severity, small, large)))


def motion_blur(x: Tensor, severity: int) -> Tensor:
    """Drawn out to the right, with weights that fall as half a Gaussian (the authors draw a random angle)."""
    small = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))
    large = ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0))
    radius, sigma = strength(x, severity, small, large)
    return filtered(x, [(0, -i, math.exp(-(i**2) / (2 * sigma**2))) for i in range(2 * radius + 1)])


def zoom_blur(x: Tensor, severity: int) -> Tensor:
    """The mean of the image and of itself enlarged about the centre by one factor after the other."""
    small = ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01))
    large = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))
    end, step = strength(x, severity, small, large)
    factors = [1 + k * step for k in range(math.ceil((end - 1) / step))]  # as many as numpy's arange gives the authors
    out = x
    for factor in factors:
        out = out + enlarged(x, factor)
    return (out / (len(factors) + 1)).clamp(0, 1)


def disk(radius: float, sigma: float) -> Taps:
    """A disk convolved with a Gaussian of 3 by 3 pixels (5 by 5 beyond radius 8)."""
    reach, rim = (8, 1) if radius <= 8 else (math.ceil(radius), 2)
    soft = {i: math.exp(-(i**2) / (2 * sigma**2)) for i in range(-rim, rim + 1)}
    inside = [(v, h) for v in range(-reach, reach + 1) for h in range(-reach, reach + 1) if v * v + h * h <= radius**2]
    weights: dict[tuple[int, int], float] = {}
    for v, h in inside:
        for a, one in soft.items():
            for b, other in soft.items():
                weights[v + a, h + b] = weights.get((v + a, h + b), 0.0) + one * other
    return [(v, h, weight) for (v, h), weight in weights.items() if weight > 1e-12]


def filtered(x: Tensor, taps: Taps) -> Tensor:
    """The weighted mean of the image moved by each tap; the border's pixels go on beyond it.

    Written as sums of whole images, so that a row has the same bits in any batch.
    """
    total = sum(weight for *_, weight in taps)
    out = torch.zeros_like(x)
    for down, right, weight in taps:
        out = out + (weight / total) * moved(x, down, right)
    return out.clamp(0, 1)


def moved(x: Tensor, down: int, right: int) -> Tensor:
    """Every pixel takes the value of the one so many rows below and columns to the right, or of the border's."""
    rows = (torch.arange(x.shape[2], device=x.device) + down).clamp(0, x.shape[2] - 1)
    columns = (torch.arange(x.shape[3], device=x.device) + right).clamp(0, x.shape[3] - 1)
    return x[:, :, rows][:, :, :, columns]


def enlarged(x: Tensor, factor: float) -> Tensor:
    """The middle of the image enlarged to its size, bilinear."""
    return _along(_along(x, factor, 2), factor, 3)


def _along(x: Tensor, factor: float, axis: int) -> Tensor:
    last = x.shape[axis] - 1
    place = last / 2 + (torch.arange(last + 1, dtype=torch.float64, device=x.device) - last / 2) / factor
    first = place.floor().clamp(0, max(last - 1, 0))
    share = (place - first).reshape(-1, *(1,) * (3 - axis))
    one, two = (x.index_select(axis, (first + k).long().clamp(0, last)) for k in (0, 1))
    return one + share * (two - one)
