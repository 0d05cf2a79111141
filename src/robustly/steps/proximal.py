"""Proximal operators: argmin_u level * size(u) + |u - v|^2 / 2, for the sizes that least-distance attacks shrink.

level is a tensor that broadcasts against v (B, ...); those of one coordinate at a time (l1, l2/3) may have one for
each. Parikh & Boyd 2014, "Proximal algorithms", chapter 6.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.core.rows import column


def soft(v: Tensor, level: Tensor) -> Tensor:
    """l1: every coordinate comes nearer to 0 by the level."""
    return (v.abs() - level).clamp_min(0).copysign(v)


def two_thirds(v: Tensor, level: Tensor) -> Tensor:
    """The sum of |u|^(2/3), which stands between l0 and l1 (Cao, Sun & Xu 2013, eq. 10)."""
    twice = (2 * level).clamp_min(1e-30)  # only sqrt, exp and log: others round by a number's place in the batch
    fourth, size = twice.sqrt().sqrt(), v.abs()
    kept = size > (2 / 3) * 3**0.25 * fourth**3
    part = (27 / 16 * v.square() / (twice * twice.sqrt())).clamp(1, 1e15)
    third = ((part + (part.square() - 1).sqrt()).log() / 3).exp()
    root = (2 / 3**0.5) * fourth * ((third + 1 / third) / 2).sqrt()
    shrunk = ((root + (2 * size / root - root.square()).clamp_min(0).sqrt()) / 2) ** 3
    return torch.where(kept, shrunk, 0).copysign(v)


def block(v: Tensor, level: Tensor) -> Tensor:
    """l2: the whole vector comes nearer to 0 by the level (B,)."""
    length = v.flatten(1).norm(dim=1)
    return v * column((1 - level / length.clamp_min(1e-30)).clamp_min(0), v)


def capped(v: Tensor, level: Tensor) -> Tensor:
    """linf: the largest coordinates come down to one height, by the level (B,) together."""
    return v.clamp(-column(height(v, level), v), column(height(v, level), v))


def height(v: Tensor, level: Tensor) -> Tensor:
    """The s >= 0 (B,) at which the sum of (|v| - s)+ is the level, or 0 where all of it is less."""
    size = v.abs().flatten(1).sort(dim=1, descending=True).values
    count = torch.arange(1, size.shape[1] + 1, device=v.device, dtype=v.dtype)
    heights = (size.cumsum(1) - level[:, None]) / count  # if the k largest alone come down
    return heights.amax(1).clamp_min(0)
