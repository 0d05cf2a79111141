"""Sums, differences, products and quotients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustly.certify.enclosures.pointwise import Refused
from robustly.certify.enclosures.value import TINY, UNIT
from robustly.certify.linear import maps
from robustly.certify.linear.lowering.building import Value, units


def add(x: Any, y: Any, *, alpha: float = 1) -> Value:
    """x + y, values or constants, broadcast within a row."""
    if alpha != 1:
        raise Refused(f"alpha={alpha}")
    if isinstance(x, Value) and isinstance(y, Value):
        x, y = alike(x, y)
        return x.building.affine((x, y), (maps.same(), maps.same()), None, units(4))
    value, number = (x, y) if isinstance(x, Value) else (y, x)
    value, c = beside(value, number)
    return value.building.affine((value,), (maps.same(),), c, units(4, c.abs()))


def neg(x: Value) -> Value:
    """-x, exact."""
    return x.building.affine((x,), (maps.negative(),))


def sub(x: Any, y: Any, *, alpha: float = 1) -> Value:
    """x - y."""
    if alpha != 1:
        raise Refused(f"alpha={alpha}")
    if isinstance(x, Value) and isinstance(y, Value):
        x, y = alike(x, y)
        return x.building.affine((x, y), (maps.same(), maps.negative()), None, units(4))
    return add(x, neg(y) if isinstance(y, Value) else -y)


def mul(x: Any, y: Any) -> Value:
    """x y with a constant."""
    if isinstance(x, Value) and isinstance(y, Value):
        raise Refused("a product of two values that depend on the input")
    value, number = (x, y) if isinstance(x, Value) else (y, x)
    value, c = beside(value, number)
    return scaled(value, c)


def div(x: Any, y: Any, *, rounding_mode: str | None = None) -> Value:
    """x / y by a constant."""
    if isinstance(y, Value) or rounding_mode is not None:
        raise Refused("only true division by a constant")
    value, c = beside(x, y)
    return scaled(value, 1 / c)


def scaled(x: Value, factor: Tensor) -> Value:
    """factor * x, rounded."""
    size = factor.abs()
    return x.building.affine((x,), (maps.scaled(factor),), None, lambda sizes: 4 * UNIT * size * sizes[0] + TINY)


def alike(x: Value, y: Value) -> tuple[Value, Value]:
    """Both in the shape that they broadcast to; rows stay rows."""
    if len(x.row) != len(y.row):
        raise Refused(f"shapes {x.row} and {y.row} differ")
    row = tuple(torch.broadcast_shapes(x.row, y.row))
    return expanded(x, row), expanded(y, row)


def expanded(x: Value, row: tuple[int, ...]) -> Value:
    """The value with its dimensions of one repeated."""
    if x.row == row:
        return x
    return x.building.affine((x,), (maps.gathered(lambda v: v.expand(len(v), *row), x.row, moves=True),))


def beside(value: Value, number: Any) -> tuple[Value, Tensor]:
    """A value and a constant as float64 (1, ...) that broadcasts to its rows, which grow where they must."""
    c = torch.as_tensor(number, dtype=torch.float64, device=value.building.device)
    dims = len(value.shape)
    if c.dim() > dims or (c.dim() == dims and c.shape[0] != 1):
        raise Refused(f"a constant of shape {tuple(c.shape)} against rows of shape {value.row}")
    c = c.reshape((1,) * (dims - c.dim()) + tuple(c.shape))
    return expanded(value, tuple(torch.broadcast_shapes((1, *value.row), c.shape)[1:])), c
