"""A network as a program: each traced operation through its rule."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from robustly.certify.applying import applied, plain, rules, walked
from robustly.certify.enclosures import shape
from robustly.certify.linear.lowering import activations, arithmetic, layers, pooling, products, shapes
from robustly.certify.linear.lowering.building import Building, Value
from robustly.certify.linear.program import Program
from robustly.certify.trace import Operation, trace
from robustly.certify.types import UnsupportedOperator

RULES: dict[str, Callable[..., Any]] = {
    **rules(arithmetic, "add sub neg"),
    **rules(products, "mul div matmul softmax"),
    "pow": products.power,
    "square": products.square,
    **rules(layers, "linear batch_norm"),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), layers.conv),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), layers.conv_transpose),
    **rules(activations, "relu leaky_relu prelu relu6 hardtanh clamp sigmoid tanh gelu silu softplus elu exp sqrt"),
    **rules(activations, "sin cos sign floor"),
    "abs": activations.absolute,
    **dict.fromkeys(("max_pool1d", "max_pool2d"), pooling.max_pool),
    "avg_pool1d": pooling.avg_pool(1),
    "avg_pool2d": pooling.avg_pool(2),
    "adaptive_avg_pool1d": pooling.adaptive_avg_pool(1),
    "adaptive_avg_pool2d": pooling.adaptive_avg_pool(2),
    **rules(pooling, "maximum amax mean"),
    "sum": pooling.total,
    **rules(shapes, "flatten reshape permute transpose squeeze unsqueeze pad cat stack getitem chunk split"),
    **rules(shape, "dropout size"),
    "view": shapes.reshape,
    "expand": shapes.expand,
    "contiguous": shape.same,
    "identity": shape.same,
    "getattr": shape.attribute,
    "dim": lambda x: len(x.shape),
    "floordiv": plain(operator.floordiv, Value),
    "t": plain(torch.t, Value),
}
"""One rule an operation, called with the arguments of torch's own function."""


def lower(module: nn.Module, shape: tuple[int, ...]) -> Program:
    """The program of a network in evaluation mode for inputs (B, *shape).

    Its nodes enclose what the module computes in float32, operation by operation.

    Raises:
        UnsupportedOperator: what `trace` refuses, and operations without a rule, named with their place.
    """
    with torch.no_grad():
        return _lowered(trace(module), tuple(shape), _device(module))


def _lowered(operations: tuple[Operation, ...], row: tuple[int, ...], device: torch.device) -> Program:
    building = Building(device)

    def step(operation: Operation, args: Any, kwargs: Any) -> Any:
        building.where = operation.where
        return applied(operation, args, kwargs, Value, RULES)

    out = walked(operations, building.input(row), step)
    if not isinstance(out, Value):
        raise UnsupportedOperator("output", "output", "the network does not answer with one tensor made from its input")
    return building.program(out)


def _device(module: nn.Module) -> torch.device:
    return next((t.device for t in (*module.parameters(), *module.buffers())), torch.device("cpu"))
