"""Matrix products."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustly.adapters.onnx_layers.bound import Args, At, Bound


def gemm(at: At, args: Args) -> nn.Module:
    """alpha A B + beta C, turned as told; a linear layer where B and C are constants."""
    a_turned, b_turned = at.get("transA", 0), at.get("transB", 0)
    alpha, beta = at.get("alpha", 1.0), at.get("beta", 1.0)
    b, c = args[1], args[2] if len(args) > 2 else None
    if isinstance(b, Tensor) and not a_turned and (c is None or isinstance(c, Tensor)):
        weight = alpha * (b if b_turned else b.T)
        if c is None or c.numel() in (1, len(weight)):
            return _linear(weight, None if c is None else beta * c.reshape(-1).expand(len(weight)))

    def function(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        out = alpha * ((a.T if a_turned else a) @ (b.T if b_turned else b))
        return out if c is None else out + beta * c

    return Bound(function, args)


def matmul(at: At, args: Args) -> nn.Module:
    """A matrix product; a linear layer where the right one is a constant matrix."""
    if isinstance(args[1], Tensor) and args[1].dim() == 2:
        return _linear(args[1].T, None)
    return Bound(torch.matmul, args)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype, device="meta")
    return filled(layer, weight, bias)


def filled(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """The layer with these weights."""
    layer.weight = nn.Parameter(weight.clone().contiguous(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone().contiguous(), requires_grad=False)
    return layer
