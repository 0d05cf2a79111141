"""Adam's moments of a gradient, one row an example."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

FIRST, SECOND, LEAST = 0.9, 0.999, 1e-8


class Moments(NamedTuple):
    """Running means of the gradient and of its square, (B, ...)."""

    first: Tensor
    second: Tensor


def no_moments(like: Tensor) -> Moments:
    """Before the first gradient."""
    return Moments(torch.zeros_like(like), torch.zeros_like(like))


def remembered(moments: Moments, gradient: Tensor) -> Moments:
    """The moments with one more gradient (Kingma & Ba 2015, algorithm 1, with its default decays)."""
    first = FIRST * moments.first + (1 - FIRST) * gradient
    return Moments(first, SECOND * moments.second + (1 - SECOND) * gradient.square())


def direction(moments: Moments, count: int | Tensor, least: float = LEAST) -> tuple[Tensor, Tensor]:
    """The mean without its bias and what it is divided by, after `count` gradients (a number, or broadcastable to them).

    least: added to the divisor; the default is that of the paper, for gradients of everyday size.
    """
    return moments.first / (1 - FIRST**count), (moments.second / (1 - SECOND**count)).sqrt() + least
