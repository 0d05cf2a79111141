"""An ONNX graph as a torch module: layers in sequence where it is a chain, else layers with named wires."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from robustly.adapters.onnx_layers.bound import VARIABLE, UnsupportedError
from robustly.adapters.onnx_layers.table import OPERATORS, PARTED
from robustly.adapters.onnx_patterns import put_together
from robustly.core.errors import UsageError


class Wire(NamedTuple):
    """One layer: the names of the values it takes, and of the value it makes."""

    takes: tuple[str, ...]
    makes: str


class Wired(nn.Module):
    """Layers that are not a chain: skips, joins, several heads."""

    def __init__(self, layers: list[nn.Module], wires: list[Wire], start: str, end: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.wires, self.start, self.end = wires, start, end

    def forward(self, x: Tensor) -> Tensor:
        """The value named `end`, for x as the value named `start`."""
        values = {self.start: x}
        for layer, wire in zip(self.layers, self.wires, strict=True):
            values[wire.makes] = layer(*(values[name] for name in wire.takes))
        return values[self.end]


def converted(proto: Any, start: str, end: str, row: tuple[int, ...] | None = None) -> nn.Module:
    """The graph of a checked `ModelProto` from input `start` to output `end`, frozen, in evaluation mode.

    row: the shape of one input without its batch axis. With it the graph is read as a function of one row, whatever batch
    size its file insists on: shapes become constants, and a reshape of a single row becomes one of every row. Whether that
    reading is right for batches is for the caller to check.

    Raises:
        UnsupportedError: an operator that isn't converted; the message names it and its node.
    """
    shapes, opset = _shapes(proto), next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 1)
    constants: dict[str, Tensor] = {tensor.name: _tensor(tensor) for tensor in proto.graph.initializer}
    samples = {} if row is None else {start: torch.zeros(1, *row, dtype=_dtype(proto, start))}
    layers: list[nn.Module] = []
    wires: list[Wire] = []
    named = {**constants, **{n.output[0]: _constant(n, n.op_type) for n in proto.graph.node if _plain_constant(n)}}
    for node in _needed(put_together(proto.graph.node, named), end):
        told = f"{node.op_type} at node {node.name or node.output[0]}"
        if node.op_type == "Constant":
            constants[node.output[0]] = _constant(node, told)
            continue
        if node.op_type == "Shape" and node.input[0] in samples:
            which = {a.name: _attribute(a) for a in node.attribute}
            sizes = list(samples[node.input[0]].shape)[which.get("start", 0) : which.get("end")]
            constants[node.output[0]] = torch.tensor(sizes, dtype=torch.int64)
            continue
        if node.op_type not in (*OPERATORS, *PARTED) or node.domain not in ("", "ai.onnx"):
            raise UnsupportedError(f"unsupported operator {told}")
        args = [None if not name else constants.get(name, VARIABLE) for name in node.input]
        fixed = VARIABLE not in args
        first = args[0] if fixed and args else None
        at = {a.name: _attribute(a) for a in node.attribute}
        at |= {"opset": opset, "fixed": fixed, **_known(node.input[0] if node.input else "", shapes, samples)}
        takes = tuple(n for n, a in zip(node.input, args, strict=True) if a is VARIABLE)
        try:
            wanted = [VARIABLE, *args[1:]] if fixed else args
            if node.op_type in PARTED:
                made = PARTED[node.op_type](at, wanted, len(node.output))
            else:
                made = [OPERATORS[node.op_type](at, wanted)]
            for layer, name in zip(made, node.output, strict=False):
                if fixed:
                    constants[name] = layer.eval()(first)
                    continue
                layers.append(layer)
                wires.append(Wire(takes, name))
                if samples:
                    samples[name] = _sampled(layer.eval(), [samples[n] for n in takes])
        except UnsupportedError as error:
            raise UnsupportedError(f"unsupported operator {told}: {error}") from None
        except (KeyError, RuntimeError, ValueError, TypeError, IndexError) as error:
            raise UnsupportedError(f"unsupported operator {told}: {type(error).__name__}: {error}") from None
    chain = [wire.takes for wire in wires] == [(n,) for n in [start, *(w.makes for w in wires)][: len(wires)]]
    chain = chain and len({wire.makes for wire in wires}) == len(wires) and all(w.makes for w in wires)
    module = nn.Sequential(*layers) if chain and wires[-1].makes == end else Wired(layers, wires, start, end)
    return module.requires_grad_(False).eval()


def _plain_constant(node: Any) -> bool:
    return node.op_type == "Constant" and any(a.name in ("value", "value_float") for a in node.attribute)


def _sampled(layer: nn.Module, values: list[Tensor]) -> Tensor:
    with torch.no_grad():
        return layer(*values)


def _known(name: str, shapes: Mapping[str, tuple[int | None, ...]], samples: Mapping[str, Tensor]) -> dict[str, Any]:
    """What is known of an input of a node: its rank, the numbers of one row, and with a sample its whole shape."""
    if name in samples:
        shape = tuple(samples[name].shape)
        return {"rank": len(shape), "row": math.prod(shape[1:]), "shape": shape, "dtype": samples[name].dtype}
    found = shapes.get(name)
    return {"rank": None if found is None else len(found), "row": _row(found), "shape": None, "dtype": None}


def _dtype(proto: Any, start: str) -> torch.dtype:
    kind = next(value.type.tensor_type.elem_type for value in proto.graph.input if value.name == start)
    return {1: torch.float32, 10: torch.float16, 11: torch.float64}[kind]


def _needed(nodes: Any, end: str) -> list[Any]:
    """The nodes that the output depends on, in order."""
    wanted, kept = {end}, []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    for node in kept:
        if len(wanted.intersection(node.output)) > 1 and node.op_type not in PARTED:
            raise UnsupportedError(
                f"unsupported operator {node.op_type} at node {node.name or node.output[0]}: several outputs"
            )
    return kept[::-1]


def _shapes(proto: Any) -> Mapping[str, tuple[int | None, ...]]:
    """Shapes of values as far as they are known; None is a free axis."""
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(proto).graph
    except Exception:
        graph = proto.graph  # without it some layers are found only by their general form
    return {
        value.name: tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }


def _row(shape: tuple[int | None, ...] | None) -> int | None:
    if shape is None or any(size is None for size in shape[1:]):
        return None
    return math.prod(size for size in shape[1:] if size is not None)


def _tensor(tensor: Any) -> Tensor:
    import onnx

    return torch.from_numpy(np.array(onnx.numpy_helper.to_array(tensor)))


def _attribute(attribute: Any) -> Any:
    import onnx

    value = onnx.helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value


def _constant(node: Any, told: str) -> Tensor:
    name, value = next(((a.name, _attribute(a)) for a in node.attribute), ("nothing", None))
    if name == "value":
        return _tensor(value)
    if name in ("value_float", "value_floats"):
        return torch.tensor(value, dtype=torch.float32)
    if name in ("value_int", "value_ints"):
        return torch.tensor(value, dtype=torch.int64)
    raise UnsupportedError(f"unsupported operator {told}: a constant given as {name}")


def refuse_inputs(path: Any, count: int) -> None:
    """Raise unless the graph has one input."""
    if count != 1:
        raise UsageError(
            f"{path} takes {count} inputs; a model of one input is wanted. Export it with the others as constants."
        )
