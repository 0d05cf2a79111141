"""Inputs written as tanh of a free variable, so that every value of it lies within the bounds."""

from __future__ import annotations

import torch
from torch import Tensor

INWARD = (
    0.999999  # how much of the way to its bound a coordinate starts, so that artanh is finite; as Carlini & Wagner do
)


def to_inputs(low: Tensor, high: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """The input that w (B, ...) stands for, between the bounds, and its derivative in w; all (B, ...)."""
    middle, half = (high + low) / 2, (high - low) / 2
    t = torch.tanh(w)
    return torch.minimum(torch.maximum(middle + half * t, low), high), half * (1 - t * t)


def from_inputs(low: Tensor, high: Tensor, z: Tensor) -> Tensor:
    """The w (B, ...) that stands for z; 0 where a coordinate can't move."""
    middle, half = (high + low) / 2, (high - low) / 2
    t = INWARD * ((z - middle) / half).clamp(-1, 1)
    return torch.where(
        half > 0, ((1 + t) / (1 - t)).log() / 2, 0
    )  # atanh itself rounds by a number's place in the batch
