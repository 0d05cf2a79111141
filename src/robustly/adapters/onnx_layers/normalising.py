"""Normalisation over stored statistics, layers and classes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustly.adapters.onnx_layers.bound import VARIABLE, Args, At, Bound, UnsupportedError, constant
from robustly.adapters.onnx_layers.products import filled


def batch_normalization(at: At, args: Args) -> nn.Module:
    """By stored statistics."""
    if at.get("training_mode", 0) or not at.get("spatial", 1):
        raise UnsupportedError("batch statistics")
    scale, shift, mean, var = (constant(args, i, "a parameter") for i in range(1, 5))
    eps = at.get("epsilon", 1e-5)
    make = {3: nn.BatchNorm1d, 2: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(at["rank"])
    if make is None:
        return Bound(
            lambda x, m, v, w, b: functional.batch_norm(x, m, v, w, b, eps=eps), (VARIABLE, mean, var, scale, shift)
        )
    layer = filled(make(len(scale), eps=eps, dtype=scale.dtype), scale, shift)
    layer.running_mean, layer.running_var = mean.clone(), var.clone()
    return layer


def layer_normalization(at: At, args: Args) -> nn.Module:
    """Written out, so that its parts have bounds."""
    scale, shift = constant(args, 1, "the scale"), constant(args, 2, "the shift")
    if at["rank"] is None:
        raise UnsupportedError("an input of unknown rank")
    axis, eps = at.get("axis", -1) % at["rank"], at.get("epsilon", 1e-5)
    axes = list(range(axis, at["rank"]))

    def function(x: Tensor, scale: Tensor, shift: Tensor | None) -> Tensor:
        centred = x - torch.mean(x, dim=axes, keepdim=True)
        spread = torch.sqrt(torch.mean(torch.square(centred), dim=axes, keepdim=True) + eps)
        out = centred / spread * scale
        return out if shift is None else out + shift

    return Bound(function, [VARIABLE, scale, shift])


def softmax(function: Callable[..., Tensor]) -> Callable[[At, Args], nn.Module]:
    """Softmax, or its logarithm, along one axis, or before operator set 13 over all from one on."""

    def make(at: At, args: Args) -> nn.Module:
        if at["opset"] >= 13:
            return Bound(lambda x: function(x, dim=at.get("axis", -1)), args)
        axis = at.get("axis", 1)  # before operator set 13: over all axes from this one on, taken together
        return Bound(lambda x: function(x.flatten(axis), dim=-1).reshape(x.shape), args)

    return make
