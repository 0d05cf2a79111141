"""How much each operation of a network can lengthen a difference of inputs in l2, and what float32 adds, rule by rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robustly.certify.applying import rules
from robustly.certify.enclosures import shape
from robustly.certify.enclosures.affine import direct, product_error
from robustly.certify.enclosures.pointwise import Refused, stored
from robustly.certify.enclosures.value import LARGE, TINY, UNIT, gamma
from robustly.steps.norms import largest_gain


@dataclass(frozen=True)
class Layer:
    """A linear layer that a value came out of.

    source: what it read. weight: float64, of the shape that torch's own function takes. bias: float64 (O,). settings: the name of
    that function and how it was called. gain: of the layer alone. each: float64 (B,), at most what float32 adds in it.
    positions: how often an output feature occurs.
    """

    source: Value
    weight: Tensor
    bias: Tensor
    settings: tuple[Any, ...]
    gain: float
    each: Tensor
    positions: int

    @property
    def offset(self) -> float:
        """The length of its bias."""
        return float(self.bias.norm()) * math.sqrt(self.positions)


@dataclass(frozen=True)
class Value:
    """A value within the network, over the whole set around each of B inputs, in the l2 norm.

    gain: a difference of inputs becomes at most so many times as long. size: float64 (B,), at most the length of what is
    computed. error: float64 (B,), at most how far that is from exact arithmetic. like: zeros of its shape (1, ...). layers: the
    linear layers just passed, two where nothing but a ReLU is between them; rectified: is there a ReLU behind the last?
    """

    gain: float
    size: Tensor
    error: Tensor
    like: Tensor
    layers: tuple[Layer, ...] = ()
    rectified: bool = False

    @property
    def shape(self) -> torch.Size:
        """(1, ...)."""
        return self.like.shape

    def moved(self, f: Callable[[Tensor], Tensor]) -> Value:
        """The same numbers in another arrangement of a row, or some of them."""
        return replace(self, like=f(self.like), layers=(), rectified=False)


def rounding(terms: int, device: torch.device, conv: bool) -> float:
    """Relative error of a sum of so many products and a bias."""
    return gamma(terms + 1) + product_error(device, conv)


def linear(x: Value, weight: Tensor, bias: Tensor | None = None) -> Value:
    """x W^T + b."""
    if x.like.dim() != 2:
        raise Refused("a value that is no row of numbers")
    w = weight.double()
    like = F.linear(x.like, weight)
    return _affine(x, w, bias, ("linear",), like, largest_gain(w), float(w.norm()), w.shape[1])


def conv2d(
    x: Value,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    """A convolution, padded with zeros: part of the one over the whole plane."""
    w = weight.double()
    like = F.conv2d(x.like, weight, None, stride, padding, dilation, groups)
    settings = (
        "conv2d",
        _pair(stride),
        padding if isinstance(padding, str) else _pair(padding),
        _pair(dilation),
        groups,
    )
    gains = largest_gain(w, groups), largest_gain(w.abs(), groups)
    return _affine(x, w, bias, settings, like, *gains, w[0].numel())


def conv_transpose2d(
    x: Value,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value:
    """The transpose of a convolution, which lengthens as much."""
    w = weight.double()
    like = F.conv_transpose2d(x.like, weight, None, stride, padding, output_padding, groups, dilation)
    settings = ("conv_transpose2d", _pair(stride), _pair(padding), _pair(dilation), groups, _pair(output_padding))
    gains = largest_gain(w, groups), largest_gain(w.abs(), groups)
    return _affine(x, w, bias, settings, like, *gains, w[:, 0].numel() // groups)


def _affine(
    x: Value,
    weight: Tensor,
    bias: Tensor | None,
    settings: tuple[Any, ...],
    like: Tensor,
    gain: float,
    absolute: float,
    terms: int,
) -> Value:
    """A linear layer; absolute: a bound on the gain of the absolute weights, for sums of rounding errors."""
    conv = settings[0] != "linear"
    if conv and not direct(weight.device):
        raise Refused("its rounding is not known here")
    like = torch.zeros_like(like)
    b = weight.new_zeros(like.shape[1]) if bias is None else bias.double()
    layer = Layer(x, weight, b, settings, gain, x.size, like[0].numel() // like.shape[1])
    largest = absolute * x.size + layer.offset
    each = rounding(terms, weight.device, conv) * largest + TINY * math.sqrt(like.numel()) * terms
    each = torch.where(largest < LARGE, each, torch.inf)  # beyond that float32 may overflow
    layers = (*(x.layers[-1:] if x.rectified else ()), replace(layer, each=each))
    return Value(x.gain * gain, gain * x.size + layer.offset + each, gain * x.error + each, like, layers)


def batch_norm(
    x: Value,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Value:
    """Batch normalisation by stored statistics, folded into the linear layer before it where there is one."""
    alpha, mean, b = stored(running_mean, running_var, weight, bias, training, eps, x.like.dim())
    most, root = float(alpha.abs().max()), math.sqrt(x.like[0].numel() // x.like.shape[1])
    constants = root * (most * float(mean.norm()) + float(b.norm()))
    each = 16 * UNIT * (most * x.size + constants) + TINY * math.sqrt(x.like.numel())
    gain, size, error = most * x.gain, most * x.size + constants, most * x.error
    layer = x.layers[-1] if x.layers and not x.rectified else None
    if layer is not None and layer.settings[0] != "conv_transpose2d":
        source, factor = layer.source, alpha.flatten()
        own = largest_gain(layer.weight * factor.reshape(-1, *(1,) * (layer.weight.dim() - 1)), _groups(layer))
        offset = root * float((factor * (layer.bias - mean.flatten()) + b.flatten()).norm())
        gain = min(gain, own * source.gain)
        size = torch.minimum(size, own * source.size + offset + most * layer.each)
        error = torch.minimum(error, own * source.error + most * layer.each)
    return Value(gain, size + each, error + each, x.like)


def relu(x: Value) -> Value:
    """max(x, 0) shortens."""
    return replace(x, rectified=bool(x.layers))


def leaky_relu(x: Value, negative_slope: float = 0.01) -> Value:
    """x, or negative_slope x below zero."""
    if not abs(negative_slope) <= 1:
        raise Refused(f"negative_slope={negative_slope:g}")
    return replace(x, error=x.error + UNIT * x.size, layers=(), rectified=False)


def add(x: Any, y: Any, *, alpha: float = 1) -> Value:
    """Two branches, or a branch and a constant."""
    if alpha != 1:
        raise Refused(f"alpha={alpha}")
    if not (isinstance(x, Value) and isinstance(y, Value)):
        return _shifted(*((x, y) if isinstance(x, Value) else (y, x)))
    if x.shape != y.shape:
        raise Refused("branches of different shapes")
    size = x.size + y.size
    return Value(x.gain + y.gain, size * (1 + UNIT), x.error + y.error + UNIT * size, x.like)


def sub(x: Any, y: Any, *, alpha: float = 1) -> Value:
    """The same; and x - 2 M^T T relu(M x + b), whose gain is 1 where T is small enough for M."""
    out = add(x, y, alpha=alpha)
    if not (isinstance(x, Value) and isinstance(y, Value)) or len(y.layers) != 2 or y.rectified:
        return out
    first, second = y.layers
    gain = _returning(first, second) if first.source is x else math.inf
    if gain * x.gain >= out.gain:
        return out
    each = second.gain * first.each + second.each + UNIT * (x.size + y.size)
    middle = second.gain * first.offset + second.offset  # what becomes of 0
    return Value(gain * x.gain, gain * x.size + middle + each, gain * x.error + each, x.like)


def _returning(first: Layer, second: Layer) -> float:
    """A bound on the gain of x - B relu(A x + b), inf where B is not near 2 A^T T for any diagonal T >= 0.

    Between two inputs relu acts as a diagonal D in [0, 1], so that x - 2 A^T T relu(A x + b) acts as I - 2 M^T D M with
    M = sqrt(T) A, whose eigenvalues are in [1 - 2 |M|^2, 1]. The rest of B, its rounding, is paid for apart.
    """
    conv = first.settings[0] == "conv2d"
    a, b = first.weight, second.weight if conv else second.weight.t()
    near = ("conv_transpose2d", *first.settings[1:], (0, 0)) if conv else ("linear",)
    plain = not conv or (first.settings[1], first.settings[3:]) == ((1, 1), ((1, 1), 1))
    if not plain or second.settings != near or a.shape != b.shape:
        return math.inf
    dims = tuple(range(1, a.dim()))
    t = ((a * b).sum(dims) / (2 * a.square().sum(dims)).clamp_min(1e-300)).clamp_min(0)
    t = t.reshape(-1, *(1,) * (a.dim() - 1))
    rest = b - 2 * t * a
    return max(1.0, 2 * largest_gain(t.sqrt() * a) ** 2 - 1) + largest_gain(rest) * first.gain


def mul(x: Any, y: Any) -> Value:
    """Times a constant."""
    if isinstance(x, Value) and isinstance(y, Value):
        raise Refused("a product of two values that depend on the input")
    value, number = (x, y) if isinstance(x, Value) else (y, x)
    return _scaled(value, _constant(number, value).abs())


def div(x: Any, y: Any, *, rounding_mode: str | None = None) -> Value:
    """Divided by a constant."""
    if isinstance(y, Value) or rounding_mode is not None:
        raise Refused("only true division by a constant")
    return _scaled(x, 1 / _constant(y, x).abs())


def _shifted(x: Value, other: Any) -> Value:
    size = x.size + float(_constant(other, x).expand(x.shape).norm())
    return Value(x.gain, size * (1 + UNIT), x.error + 4 * UNIT * size, x.like)


def _scaled(x: Value, constant: Tensor) -> Value:
    factor = float(constant.max())
    size = factor * x.size * (1 + 4 * UNIT) + TINY * math.sqrt(x.like.numel())
    return Value(x.gain * factor, size, factor * x.error + 4 * UNIT * size, x.like)


def _constant(value: Any, x: Value) -> Tensor:
    """Float64, broadcastable to one row."""
    constant = torch.as_tensor(value, device=x.like.device).double()
    if torch.broadcast_shapes(constant.shape, x.shape) != x.shape:
        raise Refused("a constant larger than the value")
    return constant


def max_pool2d(
    x: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value:
    """Maxima of windows that don't overlap."""
    if _pair(dilation) != (1, 1) or return_indices:
        raise Refused("dilation, or indices")
    _apart(kernel_size, stride)
    like = F.max_pool2d(x.like, kernel_size, stride, padding, ceil_mode=ceil_mode)
    return Value(x.gain, x.size, x.error, torch.zeros_like(like))


def avg_pool2d(
    x: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    """Means of windows that don't overlap: of n numbers, 1 / sqrt(n) as long."""
    if ceil_mode or divisor_override is not None:
        raise Refused("ceil_mode, or a divisor of its own")
    height, width = _apart(kernel_size, stride)
    like = F.avg_pool2d(x.like, kernel_size, stride, padding)
    whole = count_include_pad or _pair(padding) == (0, 0)
    return _averaged(x, height * width, 1 / math.sqrt(height * width) if whole else 1.0, like)


def adaptive_avg_pool2d(x: Value, output_size: Any) -> Value:
    """The same, where the windows share the image out evenly."""
    like = F.adaptive_avg_pool2d(x.like, output_size)
    sizes = list(zip(x.shape[2:], like.shape[2:], strict=True))
    if any(size % parts for size, parts in sizes):
        raise Refused("windows that overlap")
    count = math.prod(size // parts for size, parts in sizes)
    return _averaged(x, count, 1 / math.sqrt(count), like)


def mean(x: Value, dim: Any, keepdim: bool = False) -> Value:
    """The mean over dimensions of a row."""
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    if any(d % x.like.dim() == 0 for d in dims):
        raise Refused(shape.ACROSS)
    like = x.like.mean(dims, keepdim)
    count = x.like.numel() // max(like.numel(), 1)
    return _averaged(x, count, 1 / math.sqrt(count), like)


def cat(tensors: Any, dim: int = 0) -> Value:
    """Branches side by side."""
    if not all(isinstance(t, Value) for t in tensors):
        raise Refused("a constant among the parts")
    like = torch.cat([t.like for t in tensors], dim)
    if len(like) != 1:
        raise Refused(shape.ACROSS)
    size, error = (torch.stack([getattr(t, k) for t in tensors]).norm(dim=0) for k in ("size", "error"))
    gain = math.sqrt(sum(t.gain**2 for t in tensors))
    return Value(gain * (1 + 1e-12), size * (1 + UNIT), error * (1 + UNIT), like)


def pad(x: Value, pad: Any, mode: str = "constant", value: float | None = None) -> Value:
    """Zeros put around each row."""
    if mode != "constant" or value or len(pad) > 2 * (x.like.dim() - 1):
        raise Refused("padding with anything but zeros")
    return x.moved(lambda v: F.pad(v, tuple(pad)))


def getitem(x: Any, index: Any) -> Any:
    """A slice of each row."""
    if not isinstance(x, Value):
        return x[index]
    parts = index if isinstance(index, tuple) else (index,)
    plain = all(isinstance(p, int | slice) for p in parts) and parts[0] == slice(None)
    if not plain:
        raise Refused("an index that is not a plain slice of each row")
    return x.moved(lambda v: v[parts])


def _averaged(x: Value, count: int, gain: float, like: Tensor) -> Value:
    gain *= 1 + 1e-12
    each = gamma(count + 1) * gain * x.size + TINY * math.sqrt(like.numel())
    return Value(gain * x.gain, gain * x.size + each, gain * x.error + each, torch.zeros_like(like))


def _apart(kernel_size: Any, stride: Any) -> tuple[int, int]:
    """The sides of windows, which no input is in two of."""
    kernel = _pair(kernel_size)
    step = _pair(kernel_size if stride is None or stride == [] else stride)
    if any(k > s for k, s in zip(kernel, step, strict=True)):
        raise Refused("windows that overlap")
    return kernel


def _groups(layer: Layer) -> int:
    return layer.settings[4] if layer.settings[0] == "conv2d" else 1


def _pair(value: Any) -> tuple[int, int]:
    sides = (value, value) if isinstance(value, int) else tuple(value)
    return sides if len(sides) == 2 else (*sides, *sides)  # type: ignore[return-value]


def reshape(x: Value, *sizes: Any) -> Value:
    """The numbers of each row in another shape."""
    given = tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    like = x.like.reshape(given)
    if len(like) != 1:
        raise Refused(shape.ACROSS)
    return x.moved(lambda _: like)


def flatten(x: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    """The dimensions from start_dim to end_dim as one."""
    if start_dim % x.like.dim() == 0:
        raise Refused(shape.ACROSS)
    return x.moved(lambda v: v.flatten(start_dim, end_dim))


RULES: dict[str, Callable[..., Any]] = {
    "linear": linear,
    "conv2d": conv2d,
    "conv_transpose2d": conv_transpose2d,
    "batch_norm": batch_norm,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "add": add,
    "sub": sub,
    "mul": mul,
    "div": div,
    "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d,
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "reshape": reshape,
    "view": reshape,
    "flatten": flatten,
    **rules(shape, "size dropout"),
    "getattr": lambda x, name: shape.attribute(x, name) if isinstance(x, Value) else getattr(x, name),
    "getitem": getitem,
    "mean": mean,
    "cat": cat,
    "pad": pad,
    "identity": shape.same,
    "contiguous": shape.same,
}
"""One rule an operation, called with the arguments of torch's own function."""
