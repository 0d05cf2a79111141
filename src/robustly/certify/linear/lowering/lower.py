"""A network as a program: each traced operation through its rule."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.node import Node, map_arg

from robustly.certify.enclosures.pointwise import Refused
from robustly.certify.linear.lowering import activations, arithmetic, layers, pooling, products, shapes
from robustly.certify.linear.lowering.building import Building, Value
from robustly.certify.linear.program import Program
from robustly.certify.trace import Operation, trace
from robustly.certify.types import UnsupportedOperator


def _rules(room: ModuleType, names: str) -> dict[str, Callable[..., Any]]:
    return {name: getattr(room, name) for name in names.split()}


RULES: dict[str, Callable[..., Any]] = {
    **_rules(arithmetic, "add sub neg"),
    **_rules(products, "mul div matmul softmax"),
    "pow": products.power,
    "square": products.square,
    **_rules(layers, "linear batch_norm"),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), layers.conv),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), layers.conv_transpose),
    **_rules(activations, "relu leaky_relu prelu relu6 hardtanh clamp sigmoid tanh gelu silu softplus elu exp sqrt"),
    "abs": activations.absolute,
    **dict.fromkeys(("max_pool1d", "max_pool2d"), pooling.max_pool),
    "avg_pool1d": pooling.avg_pool(1),
    "avg_pool2d": pooling.avg_pool(2),
    "adaptive_avg_pool1d": pooling.adaptive_avg_pool(1),
    "adaptive_avg_pool2d": pooling.adaptive_avg_pool(2),
    **_rules(pooling, "maximum amax mean"),
    "sum": pooling.total,
    **_rules(
        shapes, "flatten reshape permute transpose squeeze unsqueeze pad cat stack dropout getitem size chunk split"
    ),
    "view": shapes.reshape,
    "expand": shapes.expand,
    "contiguous": shapes.same,
    "identity": shapes.same,
    "getattr": shapes.attribute,
    "dim": lambda x: len(x.shape),
    "floordiv": shapes.plain(operator.floordiv),
    "t": shapes.plain(torch.t),
}
"""One rule an operation, called with the arguments of torch's own function."""

_PLAIN = {"getattr", "getitem", "size", "dim", "floordiv", "expand", "t"}
"""Rules that are right for constants and sizes too."""

_ON_TENSORS: dict[str, Callable[..., Any]] = {
    **_rules(torch, "add sub mul div neg reshape flatten permute squeeze unsqueeze transpose"),  # type: ignore[arg-type]
    "view": Tensor.view,
    "contiguous": Tensor.contiguous,
}
"""Operations on constants alone, computed as the model computes them. Anything else on constants is refused."""

_ON_NUMBERS = {**_rules(operator, "add sub mul neg"), "div": operator.truediv}
"""Operations on sizes."""


def lower(module: nn.Module, shape: tuple[int, ...]) -> Program:
    """The program of a network in evaluation mode for inputs (B, *shape).

    Its nodes enclose what the module computes in float32, operation by operation.

    Raises:
        UnsupportedOperator: what `trace` refuses, and operations without a rule, named with their place.
    """
    with torch.no_grad():
        return _lowered(trace(module), tuple(shape), _device(module))


def _lowered(operations: tuple[Operation, ...], shape: tuple[int, ...], device: torch.device) -> Program:
    building = Building(device)
    values: dict[Node, Any] = {}
    for operation in operations:
        building.where = operation.where
        if operation.name == "input":
            values[operation.node] = building.input(shape)
        elif operation.name == "constant":
            values[operation.node] = operation.args[0]
        elif operation.name != "output":
            args, kwargs = (map_arg(a, values.__getitem__) for a in (operation.args, operation.kwargs))
            values[operation.node] = _applied(operation, args, kwargs)
    result = operations[-1].args[0]
    out = values.get(result) if isinstance(result, Node) else None
    if not isinstance(out, Value):
        raise UnsupportedOperator("output", "output", "the network does not answer with one tensor made from its input")
    return building.program(out)


def _applied(operation: Operation, args: Any, kwargs: Any) -> Any:
    """The rule of an operation, or on constants alone what the model computes."""
    name, leaves = operation.name, _leaves((args, kwargs))
    if any(isinstance(a, Value) for a in leaves) or name in _PLAIN:
        rule = RULES.get(name)
    elif any(isinstance(a, Tensor) for a in leaves):
        rule = _ON_TENSORS.get(name)
    else:
        rule = _ON_NUMBERS.get(name)
    if rule is None:
        raise UnsupportedOperator(name, operation.where)
    try:
        return rule(*args, **kwargs)
    except Refused as error:
        raise UnsupportedOperator(name, operation.where, str(error)) from None
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        said = f"its arguments ({(str(error) or type(error).__name__).splitlines()[0]})"
        raise UnsupportedOperator(name, operation.where, said) from error


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return _leaves(list(value.values()))
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]


def _device(module: nn.Module) -> torch.device:
    return next((t.device for t in (*module.parameters(), *module.buffers())), torch.device("cpu"))
