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
    if at["shape"] is not None:
        return _of_rows((math.prod(at["shape"][:axis]), math.prod(at["shape"][axis:])), at)
    return Bound(lambda x: x.reshape(math.prod(x.shape[:axis]), -1), args)


def _reshape(at: At, args: Args) -> nn.Module:
    shape = args[1]
    if isinstance(shape, Tensor) and not at.get("allowzero", 0):
        wanted, row = shape.tolist(), at["row"]
        if len(wanted) == 2 and (wanted == [0, -1] or (row is not None and wanted in ([-1, row], [0, row]))):
            return nn.Flatten(1)
        if at["shape"] is not None:
            return _of_rows(torch.empty(at["shape"]).reshape(_sizes(at, wanted, at["shape"])).shape, at)

    def function(x: Tensor, shape: Tensor) -> Tensor:
        return x.reshape(_sizes(at, [int(s) for s in shape.tolist()], x.shape))

    return Bound(function, args)


def _sizes(at: At, wanted: Sequence[int], old: Sequence[int]) -> list[int]:
    return list(wanted) if at.get("allowzero", 0) else [old[i] if s == 0 else s for i, s in enumerate(wanted)]


def _of_rows(shape: Sequence[int], at: At) -> nn.Module:
    """Every row in the shape that a single one is given: `shape` begins with its batch of one."""
    if not shape or shape[0] != 1 or at["shape"][0] != 1:
        raise UnsupportedError(
            f"a reshape of {tuple(at['shape'])} to {tuple(shape)}, which leaves no axis for the batch"
        )
    row = tuple(shape[1:])
    return nn.Flatten(1) if len(row) == 1 and len(at["shape"]) > 1 else Bound(lambda x: x.reshape(-1, *row), [VARIABLE])


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
        if axes and at["rank"] is not None:
            axes = [axis % at["rank"] for axis in axes]
        return Bound(lambda x: function(x, dim=axes or list(range(x.dim())), keepdim=keep), args[:1])

    return make


def _greatest(x: Tensor, dim: Sequence[int], keepdim: bool) -> Tensor:
    """One axis after the other, which is what has bounds."""
    for axis in sorted(dim, reverse=True):
        x = torch.amax(x, axis, keepdim)
    return x


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
    index = args[1]
    if at["shape"] is not None and isinstance(index, Tensor) and (plain := _gathered(at, index)) is not None:
        return plain

    def function(x: Tensor, index: Tensor) -> Tensor:
        axis = at.get("axis", 0) % x.dim()
        index = torch.where(index < 0, index + x.shape[axis], index)
        found = x.index_select(axis, index.reshape(-1))
        return found.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])

    return Bound(function, args)


def _gathered(at: At, index: Tensor) -> nn.Module | None:
    """One place or a run of places of an axis as a plain cut."""
    axis, shape = at.get("axis", 0) % len(at["shape"]), at["shape"]
    places = [int(i) % shape[axis] for i in index.reshape(-1).tolist()]
    before = (slice(None),) * axis
    if axis == 0:
        return None
    if index.dim() == 0:
        return Bound(lambda x: x[(*before, places[0])], [VARIABLE])
    if index.dim() == 1 and places == list(range(places[0], places[0] + len(places))):
        return _cut((*before, slice(places[0], places[-1] + 1)))
    if index.dim() == 1 and len(places) <= 256:
        return Bound(lambda x: torch.cat([x[(*before, slice(i, i + 1))] for i in places], axis), [VARIABLE])
    return None


def _cast(at: At, args: Args) -> nn.Module:
    kinds = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64}
    if at["to"] not in kinds:
        raise UnsupportedError(f"a cast to type {at['to']}")
    return Bound(lambda x: x.to(kinds[at["to"]]), args)


def _hard_sigmoid(alpha: float, beta: float) -> nn.Module:
    return Bound(lambda x: (alpha * x + beta).clamp(0.0, 1.0), [VARIABLE])


def _leaky_relu(at: At, args: Args) -> nn.Module:
    return nn.LeakyReLU(at.get("alpha", 0.01))


def _conv_transpose(at: At, args: Args) -> nn.Module:
    weight, bias = _constant(args, 1, "the kernel"), _constant(args, 2, "the bias")
    rank = weight.dim() - 2
    if rank not in (1, 2, 3):
        raise UnsupportedError(f"a transposed convolution over {rank} axes")
    kernel = list(weight.shape[2:])
    strides, dilations = at.get("strides", [1] * rank), at.get("dilations", [1] * rank)
    extra, groups = at.get("output_padding", [0] * rank), at.get("group", 1)
    if at.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or "output_shape" in at:
        raise UnsupportedError("padding that follows from an output shape")
    pads = list(at.get("pads", [0] * 2 * rank))
    before, after = pads[:rank], pads[rank:]
    even = before == after
    layer = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[rank - 1](
        weight.shape[0],
        weight.shape[1] * groups,
        _t(kernel),
        _t(strides),
        _t(before) if even else 0,
        _t(extra),
        groups,
        bias is not None,
        _t(dilations),
        dtype=weight.dtype,
        device="meta",
    )
    filled = _filled(layer, weight, bias)
    if even:
        return filled
    kept = (slice(None), slice(None), *(slice(b, -a or None) for b, a in zip(before, after, strict=True)))
    return nn.Sequential(filled, Bound(lambda x: x[kept], [VARIABLE]))


def _slice(at: At, args: Args) -> nn.Module:
    starts, ends = _setting(at, args, "starts", 1), _setting(at, args, "ends", 2)
    if starts is None or ends is None:
        raise UnsupportedError("a slice without its ends")
    axes, steps = _setting(at, args, "axes", 3), _setting(at, args, "steps", 4)
    axes, steps = list(range(len(starts))) if axes is None else axes, steps or [1] * len(starts)
    if any(step < 1 for step in steps):
        raise UnsupportedError("a step backwards")
    if at["rank"] is None:
        raise UnsupportedError("an input of unknown rank")
    cuts = [slice(None)] * at["rank"]
    for axis, start, stop, step in zip(axes, starts, ends, steps, strict=True):
        whole = start == 0 and step == 1 and stop >= (1 if at["shape"] is not None else 2**31 - 1)
        if not (axis % at["rank"] == 0 and at["rank"] > 1 and whole):  # all of the batch
            cuts[axis % at["rank"]] = slice(start, None if stop >= 2**31 - 1 else stop, step)
    last = max((i for i, cut in enumerate(cuts) if cut != slice(None)), default=-1)
    return Bound(lambda x: x[tuple(cuts[: last + 1])], args[:1]) if last >= 0 else nn.Identity()


def _split(at: At, args: Args, count: int) -> list[nn.Module]:
    sizes, shape = _setting(at, args, "split", 1), at["shape"]
    axis = at.get("axis", 0)
    if sizes is None:
        if shape is None:
            raise UnsupportedError("equal parts of an axis whose size isn't known")
        size = -(-shape[axis] // count)
        sizes = [min(size, shape[axis] - i * size) for i in range(count)]
    if at["rank"] is None or axis % at["rank"] == 0:
        raise UnsupportedError("parts of the batch")
    cuts = (slice(None),) * (axis % at["rank"])
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [_cut((*cuts, slice(end - size, end))) for end, size in zip(ends, sizes, strict=True)]


def _cut(cuts: tuple[slice, ...]) -> nn.Module:
    return Bound(lambda x: x[cuts], [VARIABLE])


def _gelu(at: At, args: Args) -> nn.Module:
    return nn.GELU(approximate=at.get("approximate", "none"))


def _prelu(at: At, args: Args) -> nn.Module:
    slope = _constant(args, 1, "the slope")
    if slope.numel() == 1:
        return nn.LeakyReLU(float(slope))
    return Bound(lambda x, s: torch.relu(x) - s * torch.relu(-x), [VARIABLE, slope])


def _extreme(sign: int) -> Callable[[At, Args], nn.Module]:
    """Max and Min take any number of arguments; a minimum is a maximum of negatives, which is what has bounds."""

    def make(at: At, args: Args) -> nn.Module:
        def several(*parts: Tensor) -> Tensor:
            out = parts[0] if sign > 0 else -parts[0]
            for part in parts[1:]:
                out = torch.maximum(out, part if sign > 0 else -part)
            return out if sign > 0 else -out

        return Bound(several, args)

    return make


def _where(at: At, args: Args) -> nn.Module:
    """With a constant condition a sum of two products, which has bounds."""
    condition, one, two = args
    finite = all(not isinstance(a, Tensor) or bool(torch.isfinite(a.double()).all()) for a in (one, two))
    if isinstance(condition, Tensor) and (one is VARIABLE or two is VARIABLE) and finite:
        kept = condition.to(torch.float32)
        return Bound(lambda k, left, a, b: k * a + left * b, (kept, 1 - kept, one, two))
    return Bound(torch.where, args)


def _power(at: At, args: Args) -> nn.Module:
    exponent = args[1]
    if isinstance(exponent, Tensor) and exponent.numel() == 1 and args[0] is VARIABLE and exponent.dim() == 0:
        number = float(exponent)
        return Bound(lambda x: torch.pow(x, int(number) if number.is_integer() else number), args[:1])
    return Bound(torch.pow, args)


def _expand(at: At, args: Args) -> nn.Module:
    wanted = [int(v) for v in _constant(args, 1, "the shape").tolist()]
    shape = at["shape"]
    if shape is None or not shape or len(wanted) > len(shape) or (len(wanted) == len(shape) and wanted[0] != 1):
        return Bound(lambda x: x.expand(torch.broadcast_shapes(x.shape, wanted)), args[:1])
    sizes = tuple(torch.broadcast_shapes(shape, wanted))[1:]
    return nn.Identity() if sizes == shape[1:] else Bound(lambda x: x.expand(-1, *sizes), args[:1])


def _constant_of_shape(at: At, args: Args) -> nn.Module:
    import onnx

    value = (
        torch.tensor(onnx.numpy_helper.to_array(at["value"]).reshape(-1)[0].item())
        if "value" in at
        else torch.tensor(0.0)
    )
    return Bound(lambda shape: value.expand(tuple(int(v) for v in shape.tolist())).clone(), args)


def _resize(at: At, args: Args) -> nn.Module:
    """Nearest neighbours by whole factors; the rest is left."""
    place = 1 if at["opset"] < 11 or "scales" in at else 2
    scales = at.get("scales") or _constant(args, place, "the scales")
    if scales is None or len(scales) == 0:
        sizes = _setting(at, args, "sizes", 3)
        if sizes is None or at["shape"] is None:
            raise UnsupportedError("sizes that aren't known")
        scales = [new / old for new, old in zip(sizes, at["shape"], strict=True)]
    factors = [float(v) for v in scales]
    if at.get("mode", "nearest") != "nearest" or any(f != int(f) for f in factors) or factors[:2] != [1.0, 1.0]:
        raise UnsupportedError("anything but nearest neighbours by whole factors")
    scale = tuple(int(f) for f in factors[2:])
    if len(scale) != 2:
        return Bound(lambda x: functional.interpolate(x, scale_factor=scale, mode="nearest"), [VARIABLE])
    return Bound(lambda x: _enlarged(x, scale), [VARIABLE])


def _enlarged(x: Tensor, scale: tuple[int, ...]) -> Tensor:
    """Every number of an image repeated, out of operations that have bounds."""
    channels, high, wide = x.shape[1], x.shape[2], x.shape[3]
    x = x.unsqueeze(4).expand(-1, -1, -1, -1, scale[1]).reshape(-1, channels, high, wide * scale[1])
    return x.unsqueeze(3).expand(-1, -1, -1, scale[0], -1).reshape(-1, channels, high * scale[0], wide * scale[1])


def _layer_normalization(at: At, args: Args) -> nn.Module:
    """Written out, so that its parts have bounds."""
    scale, shift = _constant(args, 1, "the scale"), _constant(args, 2, "the shift")
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


def _tile(at: At, args: Args) -> nn.Module:
    times = [int(v) for v in _constant(args, 1, "the repeats").tolist()]

    def function(x: Tensor) -> Tensor:
        for axis, count in enumerate(times):
            x = torch.cat([x] * count, axis) if count != 1 else x
        return x

    return Bound(function, args[:1])


OPERATORS: dict[str, Callable[[At, Args], nn.Module]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _plain(torch.add),
    "Sub": _plain(torch.sub),
    "Mul": _plain(torch.mul),
    "Div": _plain(torch.div),
    "Pow": _power,
    "Sqrt": _plain(torch.sqrt),
    "Exp": _plain(torch.exp),
    "Log": _plain(torch.log),
    "Neg": _plain(torch.neg),
    "Abs": _plain(torch.abs),
    "Erf": _plain(torch.erf),
    "Relu": _layer(nn.ReLU),
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "Elu": lambda at, args: nn.ELU(at.get("alpha", 1.0)),
    "Softplus": _layer(nn.Softplus),
    "HardSwish": lambda at, args: Bound(lambda x: x * (x / 6 + 0.5).clamp(0.0, 1.0), args),
    "HardSigmoid": lambda at, args: _hard_sigmoid(at.get("alpha", 0.2), at.get("beta", 0.5)),
    "Gelu": _gelu,
    "Sign": _plain(torch.sign),
    "Sin": _plain(torch.sin),
    "Cos": _plain(torch.cos),
    "Floor": _plain(torch.floor),
    "Reciprocal": _plain(lambda x: 1.0 / x),
    "Max": _extreme(1),
    "Min": _extreme(-1),
    "Where": _where,
    "Equal": _plain(torch.eq),
    "Sigmoid": _layer(nn.Sigmoid),
    "Tanh": _layer(nn.Tanh),
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "LayerNormalization": _layer_normalization,
    "Resize": _resize,
    "Upsample": _resize,
    "Slice": _slice,
    "Expand": _expand,
    "ConstantOfShape": _constant_of_shape,
    "Tile": _tile,
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
    "ReduceMax": _reduced(_greatest),
    "ReduceMin": _reduced(lambda x, dim, keepdim: -_greatest(-x, dim, keepdim)),
    "Shape": _plain(lambda x: torch.tensor(x.shape)),
    "Gather": _gather,
    "Cast": _cast,
}

PARTED: dict[str, Callable[[At, Args, int], list[nn.Module]]] = {"Split": _split}
"""Operators that answer with several values: one layer each."""
