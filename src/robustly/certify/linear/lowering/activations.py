"""Activations, most of them sums of ReLUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustly.certify.enclosures.pointwise import Refused
from robustly.certify.enclosures.value import TINY, UNIT
from robustly.certify.linear import curves, maps, smooth
from robustly.certify.linear.lowering.arithmetic import beside
from robustly.certify.linear.lowering.building import Value, units
from robustly.certify.linear.periodic import COSINE, SINE
from robustly.certify.linear.relu import RELU
from robustly.certify.linear.rules import FINE
from robustly.certify.linear.steps import FLOOR, SIGN


def relu(x: Value) -> Value:
    """max(x, 0), exact."""
    return x.building.nonlinear(RELU, x)


def leaky_relu(x: Value, negative_slope: float | Tensor = 0.01) -> Value:
    """x, or negative_slope x below zero: a x + (1 - a) max(x, 0)."""
    x, slope = beside(x, negative_slope)
    size = slope.abs()
    return x.building.affine(
        (x, relu(x)),
        (maps.scaled(slope), maps.scaled(1 - slope)),
        None,
        lambda sizes: 4 * UNIT * size * sizes[0] + FINE * (1 + size) * (sizes[0] + sizes[1]) + TINY,
    )


def prelu(x: Value, weight: Tensor) -> Value:
    """Leaky ReLU with a slope a channel."""
    return leaky_relu(x, weight.detach().reshape(1, -1, *(1,) * (len(x.row) - 1)) if weight.numel() > 1 else weight)


def relu6(x: Value) -> Value:
    """min(max(x, 0), 6)."""
    return clamp(x, 0, 6)


def hardtanh(x: Value, min_val: float = -1.0, max_val: float = 1.0) -> Value:
    """x clamped to [min_val, max_val]."""
    return clamp(x, min_val, max_val)


def clamp(x: Value, min: Any = None, max: Any = None) -> Value:
    """x clamped to constants: low + max(x - low, 0), then the same from above; a unit of rounding for the constants."""
    if any(isinstance(v, (Value, Tensor)) for v in (min, max)):
        raise Refused("its bounds are not plain numbers")
    if min is not None and max is not None and min > max:
        raise Refused("its lower bound is above its upper one")
    if min is not None:
        x = _shifted(relu(_shifted(x, 1, -float(min))), 1, float(min))
    if max is not None:
        x = _shifted(relu(_shifted(x, -1, float(max))), -1, float(max))
    return x


def absolute(x: Value) -> Value:
    """|x| = 2 max(x, 0) - x, exact."""
    two, minus = torch.full((1,), 2.0), torch.full((1,), -1.0)
    return x.building.affine((relu(x), x), (maps.scaled(two), maps.scaled(minus)))


def _shifted(x: Value, sign: int, by: float) -> Value:
    """sign * x + by, a step of a clamp: float32 chooses among x and constants, and rounds the constants alone."""
    offset = torch.full((1, *(1,) * len(x.row)), by, dtype=torch.float64, device=x.building.device)
    step = maps.same() if sign > 0 else maps.negative()
    if not by:
        return x.building.affine((x,), (step,))
    return x.building.affine((x,), (step,), offset, lambda sizes: FINE * sizes[0] + 2 * UNIT * abs(by) + TINY)


def sigmoid(x: Value) -> Value:
    """1 / (1 + exp(-x)); sixteen units of the largest result cover the vectorised float32 versions."""
    return x.building.nonlinear(_SIGMOID, x, rounding=lambda sizes: torch.full_like(sizes[0], 16 * UNIT))


def tanh(x: Value) -> Value:
    """The hyperbolic tangent."""
    return x.building.nonlinear(_TANH, x, rounding=lambda sizes: 16 * UNIT * sizes[0].clamp_max(1) + TINY)


def gelu(x: Value, approximate: str = "none") -> Value:
    """x Phi(x), or its approximation by tanh; 1 + erf(x) cancels, so the error is relative to x and not to the result."""
    return x.building.nonlinear(_GELU if approximate == "none" else _QUICK_GELU, x, rounding=units(16))


def silu(x: Value) -> Value:
    """x sigmoid(x)."""
    return x.building.nonlinear(_SILU, x, rounding=units(16))


def softplus(x: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    """log(1 + exp(x)), which float32 takes for x beyond the threshold."""
    if beta != 1 or threshold < 16:
        raise Refused(f"beta={beta}, threshold={threshold}")
    return x.building.nonlinear(_SOFTPLUS, x, rounding=units(16, 8.0))


def elu(x: Value, alpha: float = 1.0) -> Value:
    """x, or exp(x) - 1 below zero."""
    if alpha != 1:
        raise Refused(f"alpha={alpha}")
    return x.building.nonlinear(_ELU, x, rounding=units(16))


def exp(x: Value) -> Value:
    """The exponential function."""
    return x.building.nonlinear(_EXP, x, rounding=lambda sizes: 16 * UNIT * sizes[0].exp() + TINY)


def sqrt(x: Value) -> Value:
    """The square root of what stays above zero."""
    return x.building.nonlinear(_ROOT, x, rounding=lambda sizes: 4 * UNIT * sizes[0].sqrt() + TINY)


def sin(x: Value) -> Value:
    """The sine, with sixteen units of its largest value for its float32 versions."""
    return x.building.nonlinear(SINE, x, rounding=lambda sizes: torch.full_like(sizes[0], 16 * UNIT))


def cos(x: Value) -> Value:
    """The cosine."""
    return x.building.nonlinear(COSINE, x, rounding=lambda sizes: torch.full_like(sizes[0], 16 * UNIT))


def sign(x: Value) -> Value:
    """-1, 0 or 1; exact."""
    return x.building.nonlinear(SIGN, x)


def floor(x: Value) -> Value:
    """The next whole number below; exact."""
    return x.building.nonlinear(FLOOR, x)


_SIGMOID, _TANH, _GELU, _QUICK_GELU, _SILU, _SOFTPLUS, _ELU, _EXP, _ROOT = (
    smooth.rule(c)
    for c in (
        curves.SIGMOID,
        curves.TANH,
        curves.GELU,
        curves.QUICK_GELU,
        curves.SILU,
        curves.SOFTPLUS,
        curves.ELU,
        curves.EXP,
        curves.ROOT,
    )
)
