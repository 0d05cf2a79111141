"""Means and maxima over windows."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

from robustly.adapters.onnx_layers.bound import Args, At, UnsupportedError, one_or_all
from robustly.adapters.onnx_layers.padding import ConstantPad, after, padding_of


def max_pool(at: At, args: Args) -> nn.Module:
    """The largest of each window."""
    kernel, rank = at["kernel_shape"], len(at["kernel_shape"])
    strides, dilations = at.get("strides", [1] * rank), at.get("dilations", [1] * rank)
    before, _, pad = padding_of(at, kernel, strides, dilations, -math.inf)
    if pad is None and any(2 * p > k for p, k in zip(before, kernel, strict=True)):
        pad, before = ConstantPad(before, before, -math.inf), [0] * rank
    make = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[rank - 1]
    padding = one_or_all(before) if pad is None else 0
    return after(
        pad,
        make(
            one_or_all(kernel),
            one_or_all(strides),
            padding,
            one_or_all(dilations),
            ceil_mode=bool(at.get("ceil_mode", 0)),
        ),
    )


def average_pool(at: At, args: Args) -> nn.Module:
    """The mean of each window."""
    kernel, rank = at["kernel_shape"], len(at["kernel_shape"])
    if any(d != 1 for d in at.get("dilations", [1])):
        raise UnsupportedError("a dilated mean")
    strides, counted = at.get("strides", [1] * rank), bool(at.get("count_include_pad", 0))
    before, _, pad = padding_of(at, kernel, strides, [1] * rank, 0.0)
    if pad is not None and not counted:
        raise UnsupportedError("uneven padding that is not counted")
    make = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[rank - 1]
    padding = one_or_all(before) if pad is None else 0
    return after(pad, make(one_or_all(kernel), one_or_all(strides), padding, bool(at.get("ceil_mode", 0)), counted))


def global_pool(adaptive: tuple[type[nn.Module], ...]) -> Callable[[At, Args], nn.Module]:
    """The mean or the largest over all places."""

    def make(at: At, args: Args) -> nn.Module:
        if at["rank"] not in (3, 4, 5):
            raise UnsupportedError("an input of unknown rank")
        return adaptive[at["rank"] - 3](1)

    return make
