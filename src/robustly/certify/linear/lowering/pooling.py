"""Means and maxima over windows or dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robustly.certify.enclosures.pointwise import Refused
from robustly.certify.enclosures.pooling import row_dims
from robustly.certify.enclosures.shape import ACROSS
from robustly.certify.enclosures.value import TINY, gamma
from robustly.certify.linear import maps
from robustly.certify.linear.lowering.arithmetic import alike
from robustly.certify.linear.lowering.building import Value
from robustly.certify.linear.lowering.layers import several
from robustly.certify.linear.relu import MAXIMUM


def maximum(x: Value, y: Value) -> Value:
    """The larger of two values; exact."""
    x, y = alike(x, y)
    difference = x.building.affine((x, y), (maps.same(), maps.negative()))
    return x.building.nonlinear(MAXIMUM, x, y, difference)


def max_pool(
    x: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value:
    """The largest of each window, one dimension after the other, by pairs."""
    if return_indices or ceil_mode:
        raise Refused("return_indices=True" if return_indices else "ceil_mode=True")
    dims = len(x.row) - 1
    sides, steps = several(kernel_size, dims), several(stride or kernel_size, dims)
    edges, gaps = several(padding, dims), several(dilation, dims)
    for d in range(dims):
        axis = len(x.shape) - dims + d
        x = _largest([_chosen(x, axis, taps) for taps in _taps(x.shape[axis], sides[d], steps[d], edges[d], gaps[d])])
    return x


def amax(x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    """The largest along one dimension of a row."""
    if not isinstance(dim, int) or dim % len(x.shape) == 0:
        raise Refused(ACROSS)
    axis = dim % len(x.shape)
    out = _largest([_chosen(x, axis, torch.tensor([i])) for i in range(x.shape[axis])])
    return (
        out
        if keepdim
        else out.building.affine((out,), (maps.gathered(lambda v: v.squeeze(axis), out.row, moves=True),))
    )


def avg_pool(dims: int) -> Callable[..., Value]:
    """The mean of each window, over so many dimensions."""
    run: Any = {1: F.avg_pool1d, 2: F.avg_pool2d}[dims]

    def rule(
        x: Value,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Value:
        sides = several(kernel_size, dims)
        if divisor_override is not None and divisor_override <= 0:
            raise Refused("divisor_override that is not above zero")
        settings = (kernel_size, stride or None, padding, ceil_mode, count_include_pad)
        settings = settings if divisor_override is None else (*settings, divisor_override)
        return _averaged(x, lambda v: run(v, *settings), int(torch.tensor(sides).prod()))

    return rule


def adaptive_avg_pool(dims: int) -> Callable[..., Value]:
    """The mean of each of output_size windows, over so many dimensions."""
    run: Any = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d}[dims]

    def rule(x: Value, output_size: Any) -> Value:
        return _averaged(x, lambda v: run(v, output_size), int(torch.tensor(x.row[-dims:]).prod()))

    return rule


def mean(x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    """The mean over dimensions of a row."""
    dims, count = row_dims(x.shape, dim)
    return _averaged(x, lambda v: v.mean(dims, keepdim), count)


def total(x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    """The sum over dimensions of a row."""
    dims, count = row_dims(x.shape, dim)
    return _averaged(x, lambda v: v.sum(dims, keepdim), count)


def _averaged(x: Value, f: Callable[[Tensor], Tensor], count: int) -> Value:
    """A sum of `count` terms with weights that are not negative, which may be multiplied by a rounded reciprocal."""
    error = gamma(count + 4)
    step = maps.gathered(f, x.row)
    return x.building.affine((x,), (step,), None, lambda sizes: error * f(sizes[0]) + count * TINY)


def _taps(length: int, side: int, step: int, edge: int, gap: int) -> list[Tensor]:
    """For each tap of a window the place it reads, one a window; a tap on the padding reads its nearest neighbour in the
    same window that is not."""
    count = (length + 2 * edge - gap * (side - 1) - 1) // step + 1
    taps = torch.arange(side)[:, None] * gap + torch.arange(count) * step - edge  # (side, count)
    inside = (taps >= 0) & (taps < length)
    if not inside.any(0).all():
        raise Refused("a window that lies in the padding alone")
    first = taps.where(inside, length).amin(0)
    last = taps.where(inside, -1).amax(0)
    return list(torch.minimum(torch.maximum(taps, first), last))


def _chosen(x: Value, axis: int, places: Tensor) -> Value:
    """Some places along a dimension."""
    places = places.to(x.building.device)
    return x.building.affine((x,), (maps.gathered(lambda v: v.index_select(axis, places), x.row, moves=True),))


def _largest(values: Sequence[Value]) -> Value:
    values = list(values)
    while len(values) > 1:
        pairs = [maximum(a, b) for a, b in zip(values[::2], values[1::2], strict=False)]
        values = pairs + values[len(pairs) * 2 :]
    return values[0]
