"""Products and quotients of two values that both depend on the input, matrix products among them, and softmax."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustly.certify.enclosures.affine import product_error
from robustly.certify.enclosures.pointwise import Refused
from robustly.certify.enclosures.shape import ACROSS
from robustly.certify.enclosures.value import SAFETY, TINY, UNIT, gamma
from robustly.certify.linear import curves, maps, smooth
from robustly.certify.linear.lowering import arithmetic
from robustly.certify.linear.lowering.activations import sqrt
from robustly.certify.linear.lowering.arithmetic import alike, beside, expanded, scaled
from robustly.certify.linear.lowering.building import Value
from robustly.certify.linear.lowering.layers import linear
from robustly.certify.linear.lowering.shapes import transpose, unsqueeze
from robustly.certify.linear.product import PRODUCT

_SQUARE, _EXP, _RECIPROCAL = (smooth.rule(c) for c in (curves.SQUARE, curves.CAPPED, curves.RECIPROCAL))


def mul(x: Any, y: Any) -> Value:
    """x y, of which one may be a constant."""
    if not (isinstance(x, Value) and isinstance(y, Value)):
        return arithmetic.mul(x, y)
    if x.number == y.number:
        return square(x)
    x, y = alike(x, y)
    return x.building.nonlinear(PRODUCT, x, y, rounding=lambda sizes: 4 * UNIT * sizes[0] * sizes[1] + TINY)


def square(x: Value) -> Value:
    """x squared."""
    return x.building.nonlinear(_SQUARE, x, rounding=lambda sizes: 4 * UNIT * sizes[0].square() + TINY)


def power(x: Value, exponent: Any) -> Value:
    """x to the power of 1, 2, 3, 4, 1/2 or -1."""
    if exponent == 2:
        return square(x)
    if exponent == 1:
        return x
    if exponent == 3:
        return mul(square(x), x)
    if exponent == 4:
        return square(square(x))
    if exponent == 0.5:
        return sqrt(x)
    if exponent == -1:
        return div(1.0, x)
    raise Refused(f"the exponent {exponent}")


def div(x: Any, y: Any, *, rounding_mode: str | None = None) -> Value:
    """x / y, where y may be a value that stays above zero."""
    if not isinstance(y, Value) or rounding_mode is not None:
        return arithmetic.div(x, y, rounding_mode=rounding_mode)
    inverse = y.building.nonlinear(_RECIPROCAL, y)
    if isinstance(x, Value):
        return mul(x, inverse)
    inverse, c = beside(inverse, x)
    return scaled(inverse, c)


def matmul(x: Any, y: Any) -> Value:
    """A matrix product over the last two dimensions, with a constant on either side or with two values."""
    if isinstance(x, Value) and isinstance(y, Value):
        return _both(x, y)
    if isinstance(x, Value):
        if not isinstance(y, Tensor) or y.dim() != 2:
            raise Refused("only a product with a constant matrix, without a batch of them")
        return linear(x, y.t())
    if not isinstance(x, Tensor) or x.dim() != 2 or len(y.row) < 2:
        raise Refused("only a product with a constant matrix, without a batch of them")
    return transpose(linear(transpose(y, -1, -2), x), -1, -2)


def softmax(x: Value, dim: int | None = None, dtype: Any = None) -> Value:
    """softmax(x)_i = 1 / sum_j exp(x_j - x_i), a function of differences alone, which may be known better than their parts.

    float32 subtracts the largest first, rounds an exponent of at most 104 (beyond it the result underflows), sums and
    divides: the result, at most one, is off by (n + 110) units relative, doubled for safety.
    """
    if dim is None or dim % len(x.shape) == 0 or dtype is not None:
        raise Refused(ACROSS if dtype is None else f"dtype={dtype}")
    axis = dim % len(x.shape)
    moved = transpose(x, axis, -1) if axis != len(x.shape) - 1 else x
    count = moved.row[-1]
    row = (*moved.row, count)
    across, along = expanded(unsqueeze(moved, -2), row), expanded(unsqueeze(moved, -1), row)
    building = x.building
    difference = building.affine((across, along), (maps.same(), maps.negative()))
    powers = building.nonlinear(_EXP, difference)
    total = building.affine((powers,), (maps.gathered(lambda v: v.sum(-1), row),))
    error = SAFETY * (count + 110) * UNIT + 2 * TINY
    out = building.nonlinear(_RECIPROCAL, total, rounding=lambda sizes: torch.full_like(sizes[0], error))
    return transpose(out, axis, -1) if axis != len(x.shape) - 1 else out


def _both(x: Value, y: Value) -> Value:
    """sum_k x_ik y_kj, products first."""
    if len(x.row) < 2 or len(x.row) != len(y.row) or x.row[:-2] != y.row[:-2] or x.row[-1] != y.row[-2]:
        raise Refused(f"shapes {x.row} and {y.row}")
    inner = x.row[-1]
    row = (*x.row[:-2], x.row[-2], y.row[-1], inner)
    left = expanded(unsqueeze(x, -2), row)
    right = expanded(unsqueeze(transpose(y, -1, -2), -3), row)
    terms = x.building.nonlinear(PRODUCT, left, right)
    error = gamma(inner + 2) + product_error(x.building.device)
    return x.building.affine(
        (terms,),
        (maps.gathered(lambda v: v.sum(-1), row),),
        None,
        lambda sizes: error * sizes[0].sum(-1) + inner * TINY,
    )
