"""Sums, means and extremes over axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from robustly.adapters.onnx_layers.bound import Args, At, Bound, setting


def reduced(function: Callable[..., Tensor]) -> Callable[[At, Args], nn.Module]:
    """A reduction over axes, kept or not."""

    def make(at: At, args: Args) -> nn.Module:
        axes, keep = setting(at, args, "axes", 1), bool(at.get("keepdims", 1))
        if axes is None and at.get("noop_with_empty_axes", 0):
            return nn.Identity()
        if axes and at["rank"] is not None:
            axes = [axis % at["rank"] for axis in axes]
        return Bound(lambda x: function(x, dim=axes or list(range(x.dim())), keepdim=keep), args[:1])

    return make


def greatest(x: Tensor, dim: Sequence[int], keepdim: bool) -> Tensor:
    """One axis after the other, which is what has bounds."""
    for axis in sorted(dim, reverse=True):
        x = torch.amax(x, axis, keepdim)
    return x
