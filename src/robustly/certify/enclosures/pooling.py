"""Pooling and means: maxima are exact, means are sums of n terms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from robustly.certify.enclosures.pointwise import Refused
from robustly.certify.enclosures.shape import ACROSS
from robustly.certify.enclosures.value import TINY, Interval, between, gamma


def max_pool2d(
    x: Interval,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Interval:
    """The largest of each window."""
    if return_indices:
        raise Refused("return_indices=True")
    return x.selected(lambda v: F.max_pool2d(v, kernel_size, stride or None, padding, dilation, ceil_mode))


def avg_pool2d(
    x: Interval,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Interval:
    """The mean of each window."""
    sides = kernel_size if isinstance(kernel_size, (tuple, list)) else (kernel_size, kernel_size)
    if divisor_override is not None and divisor_override < 0:
        raise Refused("divisor_override below zero")
    settings = (kernel_size, stride or None, padding, ceil_mode, count_include_pad, divisor_override)
    return _averaged(x, lambda v: F.avg_pool2d(v, *settings), sides[0] * sides[-1])


def adaptive_avg_pool2d(x: Interval, output_size: Any) -> Interval:
    """The mean of each of output_size windows."""
    return _averaged(x, lambda v: F.adaptive_avg_pool2d(v, output_size), x.shape[-1] * x.shape[-2])


def mean(x: Interval, dim: Any = None, keepdim: bool = False) -> Interval:
    """The mean over dimensions of a row."""
    dims, count = row_dims(x.shape, dim)
    return _averaged(x, lambda v: v.mean(dims, keepdim), count)


def sum(x: Interval, dim: Any = None, keepdim: bool = False) -> Interval:
    """The sum over dimensions of a row."""
    dims, count = row_dims(x.shape, dim)
    return _averaged(x, lambda v: v.sum(dims, keepdim), count)


def _averaged(x: Interval, f: Callable[[Tensor], Tensor], count: int) -> Interval:
    """A sum of `count` terms with non-negative weights, which may be multiplied by a rounded reciprocal."""
    return between(f(x.lower), f(x.upper), gamma(count + 4) * f(x.size) + count * TINY)


def row_dims(shape: tuple[int, ...], dim: Any) -> tuple[tuple[int, ...], int]:
    """Dimensions to sum over, counted from the front, and how many numbers they hold; none of them that of the batch."""
    if dim is None:
        raise Refused(ACROSS)
    dims = tuple(d % len(shape) for d in (dim if isinstance(dim, (tuple, list)) else (dim,)))
    if 0 in dims or not dims:
        raise Refused(ACROSS)
    return dims, math.prod(shape[d] for d in dims)
