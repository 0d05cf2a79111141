"""ONNX operators as torch layers: one function an operator, for those that common networks are made of.

Semantics after the ONNX operator specification (onnx.ai/onnx/operators). A function gets the node's attributes and its
arguments, of which constants are tensors and what is computed is `VARIABLE`; it returns a layer of the variables.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from robustly.adapters.onnx_layers.bound import Args, At, Bound, of_torch, plain
from robustly.adapters.onnx_layers.choosing import concat, gather, parted, sliced, where
from robustly.adapters.onnx_layers.convolutions import conv, conv_transpose
from robustly.adapters.onnx_layers.jumps import Sign
from robustly.adapters.onnx_layers.normalising import batch_normalization, layer_normalization, softmax
from robustly.adapters.onnx_layers.padding import padded
from robustly.adapters.onnx_layers.pointwise import (
    cast,
    clip,
    dropout,
    extreme,
    gelu,
    hard_sigmoid,
    leaky_relu,
    power,
    prelu,
    quotient,
    remainder,
    several,
)
from robustly.adapters.onnx_layers.pooling import average_pool, global_pool, max_pool
from robustly.adapters.onnx_layers.products import gemm, matmul
from robustly.adapters.onnx_layers.reductions import greatest, reduced
from robustly.adapters.onnx_layers.shapes import (
    constant_of_shape,
    expand,
    flatten,
    reshape,
    resize,
    squeeze,
    tile,
    transpose,
    unsqueeze,
)

OPERATORS: dict[str, Callable[[At, Args], nn.Module]] = {
    "Gemm": gemm,
    "MatMul": matmul,
    "Add": plain(torch.add),
    "Sub": plain(torch.sub),
    "Mul": plain(torch.mul),
    "Div": quotient,
    "Mod": remainder,
    "Sum": several(mean=False),
    "Mean": several(mean=True),
    "Pow": power,
    "Sqrt": plain(torch.sqrt),
    "Exp": plain(torch.exp),
    "Log": plain(torch.log),
    "Neg": plain(torch.neg),
    "Abs": plain(torch.abs),
    "Erf": plain(torch.erf),
    "Relu": of_torch(nn.ReLU),
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Elu": lambda at, args: nn.ELU(at.get("alpha", 1.0)),
    "Softplus": of_torch(nn.Softplus),
    "HardSwish": lambda at, args: Bound(lambda x: x * (x / 6 + 0.5).clamp(0.0, 1.0), args),
    "HardSigmoid": lambda at, args: hard_sigmoid(at.get("alpha", 0.2), at.get("beta", 0.5)),
    "Gelu": gelu,
    "Sign": of_torch(Sign),
    "Sin": plain(torch.sin),
    "Cos": plain(torch.cos),
    "Floor": plain(torch.floor),
    "Reciprocal": plain(lambda x: 1.0 / x),
    "Max": extreme(1),
    "Min": extreme(-1),
    "Where": where,
    "Equal": plain(torch.eq),
    "Less": plain(torch.lt),
    "LessOrEqual": plain(torch.le),
    "Greater": plain(torch.gt),
    "GreaterOrEqual": plain(torch.ge),
    "Not": plain(torch.logical_not),
    "And": plain(torch.logical_and),
    "Or": plain(torch.logical_or),
    "Range": plain(lambda start, stop, step: torch.arange(start.item(), stop.item(), step.item(), dtype=start.dtype)),
    "Ceil": plain(torch.ceil),
    "Sigmoid": of_torch(nn.Sigmoid),
    "Tanh": of_torch(nn.Tanh),
    "Softmax": softmax(torch.softmax),
    "LogSoftmax": softmax(torch.log_softmax),
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "LayerNormalization": layer_normalization,
    "Resize": resize,
    "Upsample": resize,
    "Slice": sliced,
    "Expand": expand,
    "ConstantOfShape": constant_of_shape,
    "Tile": tile,
    "BatchNormalization": batch_normalization,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_pool((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)),
    "GlobalMaxPool": global_pool((nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)),
    "Flatten": flatten,
    "Reshape": reshape,
    "Transpose": transpose,
    "Concat": concat,
    "Identity": of_torch(nn.Identity),
    "Dropout": dropout,
    "Clip": clip,
    "Pad": padded,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "ReduceMean": reduced(torch.mean),
    "ReduceSum": reduced(torch.sum),
    "ReduceMax": reduced(greatest),
    "ReduceMin": reduced(lambda x, dim, keepdim: -greatest(-x, dim, keepdim)),
    "Shape": plain(lambda x: torch.tensor(x.shape)),
    "Gather": gather,
    "Cast": cast,
}

PARTED: dict[str, Callable[[At, Args, int], list[nn.Module]]] = {"Split": parted}
"""Operators that answer with several values: one layer each."""
