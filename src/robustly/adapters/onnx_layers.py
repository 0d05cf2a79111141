"""ONNX operators as torch layers: one function an operator, for those that common classifiers are made of.

Semantics after the ONNX operator specification (onnx.ai/onnx/operators). A function gets the node's attributes and its
arguments, of which constants are tensors and what is computed is `VARIABLE`; it returns a layer of the variables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

VARIABLE: Final = object()
Args = Sequence[Any]
At = Mapping[str, Any]


class UnsupportedError(Exception):
    """An operator, or a setting of one, that is not converted."""


class Bound(nn.Module):
    """A function some of whose arguments are constants, kept as buffers so that they move with the module."""

    def __init__(self, function: Callable[..., Tensor], args: Args) -> None:
        super().__init__()
        self.function = function
        self.plan: list[str | None] = []
        for place, arg in enumerate(args):
            if isinstance(arg, Tensor):
                self.register_buffer(f"constant{place}", arg)
            self.plan.append(None if arg is VARIABLE else f"constant{place}")

    def forward(self, *variables: Tensor) -> Tensor:
        """The function of the variables, with the constants in their places."""
        left = iter(variables)
        return self.function(*(next(left) if name is None else getattr(self, name, None) for name in self.plan))


def _plain(function: Callable[..., Tensor]) -> Callable[[At, Args], nn.Module]:
    return lambda at, args: Bound(function, args)


def _layer(make: Callable[[], nn.Module]) -> Callable[[At, Args], nn.Module]:
    return lambda at, args: make()


def _constant(args: Args, place: int, what: str, default: Any = None) -> Any:
    """A constant argument, or the default where it is left out."""
    if place >= len(args) or args[place] is None:
        return default
    if args[place] is VARIABLE:
        raise UnsupportedError(f"{what} is computed, not constant")
    return args[place]


def _setting(at: At, args: Args, name: str, place: int) -> list[int] | None:
    """Integers that older operator sets keep as an attribute and newer ones as an argument."""
    if name in at:
        return list(at[name])
    found = _constant(args, place, name)
    return None if found is None else [int(v) for v in found.reshape(-1).tolist()]


def _gemm(at: At, args: Args) -> nn.Module:
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


def _matmul(at: At, args: Args) -> nn.Module:
    if isinstance(args[1], Tensor) and args[1].dim() == 2:
        return _linear(args[1].T, None)
    return Bound(torch.matmul, args)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype, device="meta")
    return _filled(layer, weight, bias)


def _filled(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer.weight = nn.Parameter(weight.clone().contiguous(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone().contiguous(), requires_grad=False)
    return layer


def _conv(at: At, args: Args) -> nn.Module:
    weight, bias = _constant(args, 1, "the kernel"), _constant(args, 2, "the bias")
    rank = weight.dim() - 2
    if rank not in (1, 2, 3):
        raise UnsupportedError(f"a convolution over {rank} axes")
    kernel = list(weight.shape[2:])
    strides, dilations = at.get("strides", [1] * rank), at.get("dilations", [1] * rank)
    before, _, pad = _padding(at, kernel, strides, dilations, 0.0)
    make = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    groups = at.get("group", 1)
    layer = make(
        weight.shape[1] * groups,
        weight.shape[0],
        _t(kernel),
        _t(strides),
        _t(before) if pad is None else 0,
        _t(dilations),
        groups,
        bias is not None,
        dtype=weight.dtype,
        device="meta",
    )
    return _after(pad, _filled(layer, weight, bias))


def _batch_normalization(at: At, args: Args) -> nn.Module:
    if at.get("training_mode", 0) or not at.get("spatial", 1):
        raise UnsupportedError("batch statistics")
    scale, shift, mean, var = (_constant(args, i, "a parameter") for i in range(1, 5))
    eps = at.get("epsilon", 1e-5)
    make = {3: nn.BatchNorm1d, 2: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(at["rank"])
    if make is None:
        return Bound(
            lambda x, m, v, w, b: functional.batch_norm(x, m, v, w, b, eps=eps), (VARIABLE, mean, var, scale, shift)
        )
    layer = _filled(make(len(scale), eps=eps, dtype=scale.dtype), scale, shift)
    layer.running_mean, layer.running_var = mean.clone(), var.clone()
    return layer


def _max_pool(at: At, args: Args) -> nn.Module:
    kernel, rank = at["kernel_shape"], len(at["kernel_shape"])
    strides, dilations = at.get("strides", [1] * rank), at.get("dilations", [1] * rank)
    before, _, pad = _padding(at, kernel, strides, dilations, -math.inf)
    if pad is None and any(2 * p > k for p, k in zip(before, kernel, strict=True)):
        pad, before = _ConstantPad(before, before, -math.inf), [0] * rank
    make = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[rank - 1]
    padding = _t(before) if pad is None else 0
    return _after(pad, make(_t(kernel), _t(strides), padding, _t(dilations), ceil_mode=bool(at.get("ceil_mode", 0))))


def _average_pool(at: At, args: Args) -> nn.Module:
    kernel, rank = at["kernel_shape"], len(at["kernel_shape"])
    if any(d != 1 for d in at.get("dilations", [1])):
        raise UnsupportedError("a dilated mean")
    strides, counted = at.get("strides", [1] * rank), bool(at.get("count_include_pad", 0))
    before, _, pad = _padding(at, kernel, strides, [1] * rank, 0.0)
    if pad is not None and not counted:
        raise UnsupportedError("uneven padding that is not counted")
    make = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[rank - 1]
    padding = _t(before) if pad is None else 0
    return _after(pad, make(_t(kernel), _t(strides), padding, bool(at.get("ceil_mode", 0)), counted))


def _global_pool(adaptive: tuple[type[nn.Module], ...]) -> Callable[[At, Args], nn.Module]:
    def make(at: At, args: Args) -> nn.Module:
        if at["rank"] not in (3, 4, 5):
            raise UnsupportedError("an input of unknown rank")
        return adaptive[at["rank"] - 3](1)

    return make


def _t(values: Sequence[int]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)


class _ConstantPad(nn.Module):
    def __init__(self, before: Sequence[int], after: Sequence[int], value: float) -> None:
        super().__init__()
        self.pairs = [p for b, a in zip(reversed(before), reversed(after), strict=True) for p in (b, a)]
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x, self.pairs, value=self.value)


class _SamePad(nn.Module):
    """Pads so that the output has ceil(size / stride) places; the odd one at the end (upper) or the start (lower)."""

    def __init__(self, spans: Sequence[int], strides: Sequence[int], upper: bool, value: float) -> None:
        super().__init__()
        self.spans, self.strides, self.upper, self.value = list(spans), list(strides), upper, value

    def forward(self, x: Tensor) -> Tensor:
        pairs: list[int] = []
        for size, span, stride in zip(reversed(x.shape[2:]), reversed(self.spans), reversed(self.strides), strict=True):
            total = max((-(-size // stride) - 1) * stride + span - size, 0)
            small, large = total // 2, total - total // 2
            pairs += (small, large) if self.upper else (large, small)
        return functional.pad(x, pairs, value=self.value)


def _padding(
    at: At, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], value: float
) -> tuple[list[int], list[int], nn.Module | None]:
    """Padding before and after each axis, and a layer for it where torch's own symmetric padding can't say it."""
    rank, auto = len(kernel), at.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
        return [0] * rank, [0] * rank, _SamePad(spans, strides, auto == "SAME_UPPER", value)
    pads = list(at.get("pads", [0] * 2 * rank)) if auto == "NOTSET" else [0] * 2 * rank
    before, after = pads[:rank], pads[rank:]
    return before, after, None if before == after else _ConstantPad(before, after, value)


def _after(first: nn.Module | None, layer: nn.Module) -> nn.Module:
    return layer if first is None else nn.Sequential(first, layer)


def _softmax(function: Callable[..., Tensor]) -> Callable[[At, Args], nn.Module]:
    def make(at: At, args: Args) -> nn.Module:
        if at["opset"] >= 13:
            return Bound(lambda x: function(x, dim=at.get("axis", -1)), args)
        axis = at.get("axis", 1)  # before operator set 13: over all axes from this one on, taken together
        return Bound(lambda x: function(x.flatten(axis), dim=-1).reshape(x.shape), args)

    return make


def _flatten(at: At, args: Args) -> nn.Module:
    axis = at.get("axis", 1)
    if axis == 1:
        return nn.Flatten(1)
    return Bound(lambda x: x.reshape(math.prod(x.shape[:axis]), -1), args)


def _reshape(at: At, args: Args) -> nn.Module:
    shape = args[1]
    if isinstance(shape, Tensor) and not at.get("allowzero", 0):
        wanted, row = shape.tolist(), at["row"]
        if len(wanted) == 2 and (wanted == [0, -1] or (row is not None and wanted in ([-1, row], [0, row]))):
            return nn.Flatten(1)

    def function(x: Tensor, shape: Tensor) -> Tensor:
        sizes = [int(s) for s in shape.tolist()]
        if not at.get("allowzero", 0):
            sizes = [x.shape[i] if s == 0 else s for i, s in enumerate(sizes)]
        return x.reshape(sizes)

    return Bound(function, args)


def _transpose(at: At, args: Args) -> nn.Module:
    return Bound(lambda x: x.permute(at.get("perm") or list(reversed(range(x.dim())))), args)


def _squeeze(at: At, args: Args) -> nn.Module:
    axes = _setting(at, args, "axes", 1)
    return Bound(lambda x: x.squeeze() if axes is None else x.squeeze(tuple(axes)), args[:1])


def _unsqueeze(at: At, args: Args) -> nn.Module:
    axes = _setting(at, args, "axes", 1) or []

    def function(x: Tensor) -> Tensor:
        rank = x.dim() + len(axes)
        for axis in sorted(a % rank for a in axes):
            x = x.unsqueeze(axis)
        return x

    return Bound(function, args[:1])


def _reduced(function: Callable[..., Tensor]) -> Callable[[At, Args], nn.Module]:
    def make(at: At, args: Args) -> nn.Module:
        axes, keep = _setting(at, args, "axes", 1), bool(at.get("keepdims", 1))
        if axes is None and at.get("noop_with_empty_axes", 0):
            return nn.Identity()
        return Bound(lambda x: function(x, dim=axes or list(range(x.dim())), keepdim=keep), args[:1])

    return make


def _clip(at: At, args: Args) -> nn.Module:
    low = at.get("min", _constant(args, 1, "the lower bound"))
    high = at.get("max", _constant(args, 2, "the upper bound"))
    return Bound(lambda x: x.clamp(*(None if v is None else float(v) for v in (low, high))), args[:1])


def _pad(at: At, args: Args) -> nn.Module:
    pads = _setting(at, args, "pads", 1) or []
    if _constant(args, 3, "axes") is not None:
        raise UnsupportedError("padding of chosen axes")
    value = float(at.get("value", _constant(args, 2, "the value", 0.0)))
    mode = at.get("mode", "constant")
    if mode not in ("constant", "reflect", "edge"):
        raise UnsupportedError(f'the mode "{mode}"')
    rank = len(pads) // 2
    pairs = [p for axis in reversed(range(rank)) for p in (pads[axis], pads[axis + rank])]
    while pairs[-2:] == [0, 0]:
        pairs = pairs[:-2]  # torch wants only the axes that are padded
    if mode == "constant":
        return Bound(lambda x: functional.pad(x, pairs, value=value), args[:1])
    return Bound(lambda x: functional.pad(x, pairs, mode="replicate" if mode == "edge" else mode), args[:1])


def _dropout(at: At, args: Args) -> nn.Module:
    training = _constant(args, 2, "the training flag")
    if training is not None and bool(training):
        raise UnsupportedError("dropout in training mode")
    return nn.Identity()


def _concat(at: At, args: Args) -> nn.Module:
    return Bound(lambda *parts: torch.cat(parts, at["axis"]), args)


def _gather(at: At, args: Args) -> nn.Module:
    def function(x: Tensor, index: Tensor) -> Tensor:
        axis = at.get("axis", 0) % x.dim()
        index = torch.where(index < 0, index + x.shape[axis], index)
        found = x.index_select(axis, index.reshape(-1))
        return found.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])

    return Bound(function, args)


def _cast(at: At, args: Args) -> nn.Module:
    kinds = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64}
    if at["to"] not in kinds:
        raise UnsupportedError(f"a cast to type {at['to']}")
    return Bound(lambda x: x.to(kinds[at["to"]]), args)


def _leaky_relu(at: At, args: Args) -> nn.Module:
    return nn.LeakyReLU(at.get("alpha", 0.01))


OPERATORS: dict[str, Callable[[At, Args], nn.Module]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _plain(torch.add),
    "Sub": _plain(torch.sub),
    "Mul": _plain(torch.mul),
    "Div": _plain(torch.div),
    "Pow": _plain(torch.pow),
    "Sqrt": _plain(torch.sqrt),
    "Exp": _plain(torch.exp),
    "Log": _plain(torch.log),
    "Neg": _plain(torch.neg),
    "Abs": _plain(torch.abs),
    "Erf": _plain(torch.erf),
    "Relu": _layer(nn.ReLU),
    "LeakyRelu": _leaky_relu,
    "Sigmoid": _layer(nn.Sigmoid),
    "Tanh": _layer(nn.Tanh),
    "Softmax": _softmax(functional.softmax),
    "LogSoftmax": _softmax(functional.log_softmax),
    "Conv": _conv,
    "BatchNormalization": _batch_normalization,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_pool((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)),
    "GlobalMaxPool": _global_pool((nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Concat": _concat,
    "Identity": _layer(nn.Identity),
    "Dropout": _dropout,
    "Clip": _clip,
    "Pad": _pad,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "Shape": _plain(lambda x: torch.tensor(x.shape)),
    "Gather": _gather,
    "Cast": _cast,
}
