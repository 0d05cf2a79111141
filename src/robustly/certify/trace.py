"""An ordinary `nn.Module` as a flat list of operations, each under one name, be it a layer, a function or a method.

`x.relu()`, `F.relu(x)`, `torch.relu(x)` and `nn.ReLU()` all become "relu" with the arguments of the function, so that a
certifier needs one rule for each.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from robustly.adapters.onnx_layers.jumps import Sign
from robustly.certify.types import UnsupportedOperator


class Operation(NamedTuple):
    """One operation: `node` it came from and its path in messages, `name` of its rule, and arguments.

    Arguments hold `torch.fx.Node`s where they refer to earlier results; `torch.fx.node.map_arg` puts values in.
    "input" has none, "constant" its tensor, "output" the node of the scores.
    """

    node: fx.Node
    where: str
    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - never written to


_FUNCTIONS: dict[Any, str] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add), "add"),
    **dict.fromkeys((operator.sub, operator.isub, torch.sub, torch.subtract), "sub"),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, torch.multiply), "mul"),
    **dict.fromkeys((operator.truediv, operator.itruediv, torch.div, torch.divide, torch.true_divide), "div"),
    **dict.fromkeys((operator.neg, torch.neg), "neg"),
    **dict.fromkeys((operator.matmul, torch.matmul, torch.mm), "matmul"),
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_), "relu"),
    **dict.fromkeys((F.leaky_relu, F.leaky_relu_), "leaky_relu"),
    **dict.fromkeys((F.sigmoid, torch.sigmoid), "sigmoid"),
    **dict.fromkeys((F.tanh, torch.tanh), "tanh"),
    **dict.fromkeys((torch.clamp, torch.clip), "clamp"),
    **dict.fromkeys((F.dropout, torch.dropout, F.dropout2d), "dropout"),
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), "max_pool2d"),
    **dict.fromkeys((F.conv2d, torch.conv2d), "conv2d"),
    **dict.fromkeys((torch.cat, torch.concat), "cat"),
    **dict.fromkeys((F.conv1d, torch.conv1d), "conv1d"),
    **dict.fromkeys((F.conv_transpose1d, torch.conv_transpose1d), "conv_transpose1d"),
    **dict.fromkeys((F.conv_transpose2d, torch.conv_transpose2d), "conv_transpose2d"),
    **dict.fromkeys((F.max_pool1d, torch.max_pool1d), "max_pool1d"),
    **dict.fromkeys((F.softmax, torch.softmax), "softmax"),
    **dict.fromkeys((F.prelu, torch.prelu), "prelu"),
    **dict.fromkeys((torch.abs, operator.abs), "abs"),
    **dict.fromkeys((torch.pow, operator.pow), "pow"),
    **dict.fromkeys((F.avg_pool1d, torch.avg_pool1d), "avg_pool1d"),
    **dict.fromkeys((F.adaptive_avg_pool1d, torch.adaptive_avg_pool1d), "adaptive_avg_pool1d"),
    torch.bmm: "matmul",
    torch.maximum: "maximum",
    torch.amax: "amax",
    torch.exp: "exp",
    torch.sin: "sin",
    torch.cos: "cos",
    torch.sign: "sign",
    torch.floor: "floor",
    torch.sqrt: "sqrt",
    torch.square: "square",
    torch.stack: "stack",
    torch.chunk: "chunk",
    torch.split: "split",
    F.softplus: "softplus",
    F.elu: "elu",
    F.relu6: "relu6",
    F.hardtanh: "hardtanh",
    F.gelu: "gelu",
    F.silu: "silu",
    F.linear: "linear",
    F.batch_norm: "batch_norm",
    F.avg_pool2d: "avg_pool2d",
    F.adaptive_avg_pool2d: "adaptive_avg_pool2d",
    F.pad: "pad",
    torch.flatten: "flatten",
    torch.reshape: "reshape",
    torch.permute: "permute",
    torch.transpose: "transpose",
    torch.squeeze: "squeeze",
    torch.unsqueeze: "unsqueeze",
    torch.mean: "mean",
    torch.sum: "sum",
    operator.getitem: "getitem",
    operator.floordiv: "floordiv",
    getattr: "getattr",
}

_METHODS = {
    **{m: m for m in ("add", "sub", "mul", "div", "neg", "matmul", "relu", "sigmoid", "tanh", "clamp", "flatten")},
    **{m: m for m in ("reshape", "view", "permute", "transpose", "squeeze", "unsqueeze", "mean", "sum", "size", "dim")},
    **{m: m for m in ("contiguous", "expand", "t", "softmax", "abs", "pow", "exp", "sqrt", "square")},
    **{m: m for m in ("maximum", "amax", "chunk", "split", "sin", "cos", "sign", "floor")},
    "bmm": "matmul",
    "clip": "clamp",
    "mm": "matmul",
}

_IN_PLACE = {operator.iadd, operator.isub, operator.imul, operator.itruediv, F.relu_, torch.relu_, F.leaky_relu_}
_ALIASES = {"reshape", "view", "flatten", "permute", "transpose", "squeeze", "unsqueeze", "getitem", "contiguous"}
_ALIASES |= {"dropout", "identity", "expand", "t", "chunk", "split"}


def _conv_transpose(m: nn.ConvTranspose1d | nn.ConvTranspose2d) -> dict[str, Any]:
    names = ("weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
    return {k: getattr(m, k) for k in names}


def _conv(m: nn.Conv1d | nn.Conv2d) -> dict[str, Any]:
    if m.padding_mode != "zeros":
        raise ValueError(f"padding_mode={m.padding_mode}")
    return {k: getattr(m, k) for k in ("weight", "bias", "stride", "padding", "dilation", "groups")}


def _batch_norm(m: nn.BatchNorm1d | nn.BatchNorm2d) -> dict[str, Any]:
    return {k: getattr(m, k) for k in ("running_mean", "running_var", "weight", "bias", "training", "eps")}


def _fields(*names: str) -> Callable[[Any], dict[str, Any]]:
    return lambda m: {name: getattr(m, name) for name in names}


_LAYERS: dict[type[nn.Module], tuple[str, Callable[[Any], dict[str, Any]]]] = {
    nn.Linear: ("linear", _fields("weight", "bias")),
    nn.Conv1d: ("conv1d", _conv),
    nn.Conv2d: ("conv2d", _conv),
    nn.ConvTranspose1d: ("conv_transpose1d", _conv_transpose),
    nn.ConvTranspose2d: ("conv_transpose2d", _conv_transpose),
    nn.BatchNorm1d: ("batch_norm", _batch_norm),
    nn.BatchNorm2d: ("batch_norm", _batch_norm),
    nn.ReLU: ("relu", _fields()),
    Sign: ("sign", _fields()),
    nn.ReLU6: ("relu6", _fields()),
    nn.Hardtanh: ("hardtanh", _fields("min_val", "max_val")),
    nn.LeakyReLU: ("leaky_relu", _fields("negative_slope")),
    nn.Sigmoid: ("sigmoid", _fields()),
    nn.Tanh: ("tanh", _fields()),
    nn.GELU: ("gelu", _fields("approximate")),
    nn.SiLU: ("silu", _fields()),
    nn.MaxPool2d: (
        "max_pool2d",
        _fields("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    ),
    nn.AvgPool2d: (
        "avg_pool2d",
        _fields("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    ),
    nn.AdaptiveAvgPool2d: ("adaptive_avg_pool2d", _fields("output_size")),
    nn.MaxPool1d: (
        "max_pool1d",
        _fields("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    ),
    nn.AvgPool1d: ("avg_pool1d", _fields("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")),
    nn.AdaptiveAvgPool1d: ("adaptive_avg_pool1d", _fields("output_size")),
    nn.PReLU: ("prelu", _fields("weight")),
    nn.Softmax: ("softmax", _fields("dim")),
    nn.Softplus: ("softplus", _fields("beta", "threshold")),
    nn.ELU: ("elu", _fields("alpha")),
    nn.Flatten: ("flatten", _fields("start_dim", "end_dim")),
    nn.Dropout: ("dropout", _fields("p", "training")),
    nn.Dropout2d: ("dropout", _fields("p", "training")),
    nn.Identity: ("identity", _fields()),
    nn.ZeroPad2d: ("pad", lambda m: {"pad": tuple(m.padding)}),
}


def trace(module: nn.Module) -> tuple[Operation, ...]:
    """The operations of a module in the order they run, from "input" to "output".

    Nested and custom modules are walked through. What tracing cannot be sure of is refused, never skipped.

    Raises:
        UnsupportedOperator: an operator without a name here, control flow that depends on the data, several inputs,
            hooks or patched `forward`s (which tracing would not see), randomness inside `forward`, or an in-place
            operation on a value that is used elsewhere too.
    """
    for path, part in module.named_modules():
        if part._forward_hooks or part._forward_pre_hooks or "forward" in part.__dict__:
            raise UnsupportedOperator(type(part).__name__, path or "root", "it has a forward hook or a patched forward")
    with torch.random.fork_rng(devices=[]):  # the second trace goes on where the first stopped drawing
        first, second = _operations(module), _operations(module)
    for one, two in zip(first, second, strict=True):
        if not _same((one.args, one.kwargs), (two.args, two.kwargs)):
            raise UnsupportedOperator(one.name, one.where, "its arguments change from run to run, so it looks random")
    return first


class _Tracer(fx.Tracer):
    """Stops at layers we know, even where they are subclasses from other packages that keep `forward` as it is."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return _layer(m) is not None or super().is_leaf_module(m, module_qualified_name)


def _operations(module: nn.Module) -> tuple[Operation, ...]:
    before = set(vars(module))
    try:
        return _named(_Tracer().trace(module), module)
    except UnsupportedOperator:
        raise
    except Exception as error:
        said = str(error).split("\n")[0].split(". ")[0] or type(error).__name__
        reason = f"it cannot be traced ({said})"
        raise UnsupportedOperator(type(module).__name__, "root", reason) from error
    finally:
        for name in set(vars(module)) - before:  # the tracer hangs tensors made inside `forward` on the module
            delattr(module, name)


def _named(graph: fx.Graph, module: nn.Module) -> tuple[Operation, ...]:
    out: list[Operation] = []
    names: dict[fx.Node, str] = {}
    for node in graph.nodes:
        operation, in_place = _operation(node, module)
        names[node] = operation.name
        if in_place and not _owned(node.args[0], names):
            raise UnsupportedOperator(operation.name, operation.where, "it overwrites a value that is used elsewhere")
        out.append(operation)
    if sum(o.name == "input" for o in out) != 1:
        raise UnsupportedOperator(type(module).__name__, "root", "it does not have exactly one input")
    return tuple(out)


def _operation(node: fx.Node, root: nn.Module) -> tuple[Operation, bool]:
    """The node under its canonical name, and whether it overwrites its first argument."""
    kwargs = {k: v for k, v in node.kwargs.items() if k != "inplace"}
    in_place = bool(node.kwargs.get("inplace", False))
    if node.op == "placeholder":
        return Operation(node, node.name, "input"), False
    if node.op == "get_attr":
        value: Any = root
        for part in str(node.target).split("."):
            value = getattr(value, part)
        return Operation(node, str(node.target), "constant", (value,)), False
    if node.op == "output":
        return Operation(node, node.name, "output", node.args), False
    if node.op == "call_module":
        layer = root.get_submodule(str(node.target))
        known = _layer(layer)
        if known is None or len(node.args) != 1 or kwargs:
            raise UnsupportedOperator(type(layer).__name__, str(node.target))
        try:
            settings = known[1](layer)
        except ValueError as error:
            raise UnsupportedOperator(type(layer).__name__, str(node.target), str(error)) from None
        return Operation(node, str(node.target), known[0], node.args, settings), bool(getattr(layer, "inplace", False))
    if node.op == "call_function":
        name, in_place = _FUNCTIONS.get(node.target), in_place or node.target in _IN_PLACE
    else:
        name = _METHODS.get(str(node.target).removesuffix("_"))
        in_place = in_place or str(node.target).endswith("_")
    if name is None:
        shown = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        raise UnsupportedOperator(str(shown), node.name)
    return Operation(node, node.name, name, node.args, kwargs), in_place


def _layer(m: nn.Module) -> tuple[str, Callable[[Any], dict[str, Any]]] | None:
    """The name of a known layer and the reader of its settings; a subclass counts while it keeps the same `forward`."""
    for kind in type(m).__mro__:
        if kind in _LAYERS:
            own, theirs = type(m), kind
            same = own.forward is theirs.forward and all(
                getattr(own, part, None) is getattr(theirs, part, None) for part in ("_conv_forward", "__call__")
            )
            return _LAYERS[kind] if same else None
    return None


def _owned(value: Any, names: dict[fx.Node, str]) -> bool:
    """May this value be overwritten without anyone noticing: it has one user, and so has whatever it is a view of."""
    if not isinstance(value, fx.Node):
        return True
    if len(value.users) != 1 or names[value] == "constant":
        return False
    return names[value] not in _ALIASES or _owned(value.args[0], names)


def _same(one: Any, two: Any) -> bool:
    """Equal arguments of two traces of one module, where nodes are compared by name."""
    if isinstance(one, Tensor):
        return isinstance(two, Tensor) and (one is two or torch.equal(one, two))
    if isinstance(one, fx.Node):
        return isinstance(two, fx.Node) and one.name == two.name
    if isinstance(one, (tuple, list)):
        return len(one) == len(two) and all(_same(a, b) for a, b in zip(one, two, strict=True))
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(_same(one[k], two[k]) for k in one)
    if isinstance(one, slice):
        return _same((one.start, one.stop, one.step), (two.start, two.stop, two.step))
    return bool(one == two)
