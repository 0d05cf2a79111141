"""Elementwise operations: arithmetic with constants, activations, batch normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robustly.certify.enclosures.value import TINY, UNIT, Interval, between, scaled

Number = float | int | Tensor


class Refused(Exception):  # noqa: N818 - internal: becomes an UnsupportedOperator once the node is known
    """These arguments have no sound rule; the message says why."""


def add(x: Any, y: Any, *, alpha: float = 1) -> Interval:
    """x + y, with a constant or with another value of the same shape (a residual connection)."""
    if alpha != 1:
        raise Refused(f"alpha={alpha}")
    if isinstance(x, Interval) and isinstance(y, Interval):
        _alike(x, y)
        return between(x.lower + y.lower, x.upper + y.upper, 4 * UNIT * (x.size + y.size))
    value, number = (x, y) if isinstance(x, Interval) else (y, x)
    c = _constant(number, value)
    return scaled(value, torch.ones_like(c), c, 4 * UNIT * (value.size + c.abs()))


def neg(x: Interval) -> Interval:
    """-x, exact."""
    minus = x.lower.new_full((1,) * x.lower.dim(), -1.0)
    return scaled(x, minus, torch.zeros_like(minus), torch.zeros_like(x.lower))


def sub(x: Any, y: Any, *, alpha: float = 1) -> Interval:
    """x - y."""
    return add(x, neg(y) if isinstance(y, Interval) else -y, alpha=alpha)


def mul(x: Any, y: Any) -> Interval:
    """x y with a constant."""
    if isinstance(x, Interval) and isinstance(y, Interval):
        raise Refused("a product of two values that depend on the input")
    value, number = (x, y) if isinstance(x, Interval) else (y, x)
    c = _constant(number, value)
    return scaled(value, c, torch.zeros_like(c), 4 * UNIT * c.abs() * value.size + TINY)


def div(x: Any, y: Any, *, rounding_mode: str | None = None) -> Interval:
    """x / y by a constant."""
    if isinstance(y, Interval) or rounding_mode is not None:
        raise Refused("only true division by a constant")
    c = 1 / _constant(y, x)
    return scaled(x, c, torch.zeros_like(c), 4 * UNIT * c.abs() * x.size + TINY)


def stored(
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    eps: float,
    dims: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Factor, mean and offset of a batch normalisation, (x - mean) * factor + offset, in float64, for values of so many
    dimensions."""
    if training or running_mean is None or running_var is None:
        raise Refused("it uses the statistics of the batch")
    shape = (1, -1, *(1,) * (dims - 2))
    mean = running_mean.double().reshape(shape)
    w = torch.ones_like(mean) if weight is None else weight.double().reshape(shape)
    b = torch.zeros_like(mean) if bias is None else bias.double().reshape(shape)
    return w / (running_var.double().reshape(shape) + eps).sqrt(), mean, b


def batch_norm(
    x: Interval,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Interval:
    """Batch normalisation by stored statistics; sixteen units of rounding cover every order in which it is computed."""
    alpha, mean, b = stored(running_mean, running_var, weight, bias, training, eps, len(x.shape))
    error = 16 * UNIT * (alpha.abs() * (x.size + mean.abs()) + b.abs()) + TINY
    return scaled(x, alpha, b - mean * alpha, error)


def relu(x: Interval) -> Interval:
    """max(x, 0)."""
    return x.selected(lambda v: v.clamp_min(0))


def relu6(x: Interval) -> Interval:
    """min(max(x, 0), 6)."""
    return x.selected(lambda v: v.clamp(0, 6))


def hardtanh(x: Interval, min_val: float = -1.0, max_val: float = 1.0) -> Interval:
    """x clamped to [min_val, max_val]."""
    return clamp(x, min_val, max_val)


def clamp(x: Interval, min: Any = None, max: Any = None) -> Interval:
    """x clamped to constants; half a unit of rounding for constants that float32 cannot hold."""
    if any(isinstance(v, (Interval, Tensor)) for v in (min, max)):
        raise Refused("its bounds are not plain numbers")
    out = x.selected(lambda v: v.clamp(min, max))
    return between(out.lower, out.upper, 2 * UNIT * out.size)


def leaky_relu(x: Interval, negative_slope: float = 0.01) -> Interval:
    """x, or negative_slope x below zero."""
    if not negative_slope >= 0:
        raise Refused("a negative slope below zero is not monotone")
    return _monotone(x, lambda v: F.leaky_relu(v, negative_slope), 4 * UNIT)


def sigmoid(x: Interval) -> Interval:
    """1 / (1 + exp(-x)); sixteen units cover the vectorised float32 versions."""
    return _monotone(x, torch.sigmoid, 16 * UNIT)


def tanh(x: Interval) -> Interval:
    """The hyperbolic tangent."""
    return _monotone(x, torch.tanh, 16 * UNIT)


def gelu(x: Interval, approximate: str = "none") -> Interval:
    """x Phi(x): falls to its only minimum, about -0.17 at -0.752, then rises; either form."""
    return _valley(x, lambda v: F.gelu(v, approximate=approximate), (-0.76, -0.74), -0.1701)


def silu(x: Interval) -> Interval:
    """x sigmoid(x): falls to its only minimum, about -0.27846 at -1.27846, then rises."""
    return _valley(x, F.silu, (-1.29, -1.27), -0.27850)


def _monotone(x: Interval, f: Callable[[Tensor], Tensor], relative: float) -> Interval:
    lower, upper = f(x.lower), f(x.upper)
    return between(lower, upper, relative * torch.maximum(lower.abs(), upper.abs()) + TINY)


def _valley(x: Interval, f: Callable[[Tensor], Tensor], bottom: tuple[float, float], least: float) -> Interval:
    """A function that falls, then rises, with its minimum (at least `least`) somewhere in `bottom`."""
    one, two = f(x.lower), f(x.upper)
    straddles = (x.lower <= bottom[1]) & (x.upper >= bottom[0])
    lower = torch.where(straddles, torch.full_like(one, least), torch.minimum(one, two))
    upper = torch.maximum(one, two)
    unknown = torch.isnan(one) | torch.isnan(two)
    error = 16 * UNIT * x.size + TINY  # 1 + erf(x) cancels, so the error is relative to x and not to the result
    return between(torch.where(unknown, torch.nan, lower), upper, error)


def _alike(x: Interval, y: Interval) -> None:
    if x.shape != y.shape:
        raise Refused(f"shapes {tuple(x.shape[1:])} and {tuple(y.shape[1:])} differ")


def _constant(number: Number, like: Interval) -> Tensor:
    """A constant as float64 that broadcasts within a row of `like`, never across rows and never growing a row."""
    c = torch.as_tensor(number, dtype=torch.float64, device=like.lower.device)
    dims = len(like.shape)
    if c.dim() > dims or (c.dim() == dims and c.shape[0] != 1):
        raise Refused(f"a constant of shape {tuple(c.shape)} against rows of shape {tuple(like.shape[1:])}")
    c = c.reshape((1,) * (dims - c.dim()) + tuple(c.shape))
    if torch.broadcast_shapes(c.shape, like.shape) != like.shape:
        raise Refused(f"a constant of shape {tuple(c.shape)} against rows of shape {tuple(like.shape[1:])}")
    return c
