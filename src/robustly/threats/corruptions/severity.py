"""Which of two tables a severity is looked up in."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

T = TypeVar("T")

SMALL = 64
"""Images whose shorter side has at most so many pixels take the constants of CIFAR-10-C."""


def strength(x: Tensor, severity: int, small: tuple[T, ...], large: tuple[T, ...]) -> T:
    """The constant of a severity from 1 to 5 for images (B, C, H, W) of that size."""
    return (small if min(x.shape[2:]) <= SMALL else large)[severity - 1]
