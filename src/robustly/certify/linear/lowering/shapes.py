"""Operations that only move or choose the numbers of a row. What would move numbers between rows is refused."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robustly.certify.enclosures.pointwise import Refused
from robustly.certify.enclosures.shape import ACROSS
from robustly.certify.linear import maps
from robustly.certify.linear.lowering.arithmetic import expanded
from robustly.certify.linear.lowering.building import Value


def flatten(x: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    """The dimensions from start_dim to end_dim as one."""
    return _reshaped(x, tuple(_empty(x).flatten(start_dim, end_dim).shape))


def reshape(x: Value, *shape: Any) -> Value:
    """The numbers of each row in another shape."""
    return _reshaped(x, tuple(_empty(x).reshape(*shape).shape))


def squeeze(x: Value, dim: int | None = None) -> Value:
    """A dimension of one left out."""
    return _reshaped(x, tuple((_empty(x).squeeze() if dim is None else _empty(x).squeeze(dim)).shape))


def unsqueeze(x: Value, dim: int) -> Value:
    """A dimension of one put in."""
    return _reshaped(x, tuple(_empty(x).unsqueeze(dim).shape))


def permute(x: Value, *dims: Any) -> Value:
    """The dimensions of a row in another order."""
    order = tuple(dims[0]) if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    order = tuple(d % len(x.shape) for d in order)
    if order[0] != 0:
        raise Refused(ACROSS)
    back = tuple(sorted(range(len(order)), key=order.__getitem__))
    return x.building.affine((x,), (maps.turned(lambda v: v.permute(order), lambda g: g.permute(back)),))


def transpose(x: Value, dim0: int, dim1: int) -> Value:
    """Two dimensions of a row swapped."""
    order = list(range(len(x.shape)))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return permute(x, *order)


def pad(x: Value, pad: Any, mode: str = "constant", value: float | None = None) -> Value:
    """Numbers put around each row: zeros or copies of its own; a constant's edge becomes an offset."""
    if len(pad) > 2 * (len(x.shape) - 1):
        raise Refused(ACROSS)
    around = tuple(pad)
    step = maps.gathered(lambda v: F.pad(v, around, mode), x.row, moves=True)
    if not value:
        return x.building.affine((x,), (step,))
    filled = F.pad(x.blank(), around, mode, float(torch.tensor(value, dtype=torch.float32)))
    return x.building.affine((x,), (step,), filled)


def cat(tensors: Any, dim: int = 0) -> Value:
    """Rows joined side by side; constants among them become an offset."""
    parts = list(tensors)
    first = next(p for p in parts if isinstance(p, Value))
    axis = dim % len(first.shape)
    if axis == 0:
        raise Refused(ACROSS)
    rows = [p.row if isinstance(p, Value) else tuple(p.shape[1:]) for p in parts]
    lengths = [row[axis - 1] for row in rows]
    offset, steps, values = None, [], []
    for place, part in enumerate(parts):
        before, after = sum(lengths[:place]), sum(lengths[place + 1 :])
        where = (0, 0) * (len(first.shape) - 1 - axis) + (before, after)
        if isinstance(part, Value):
            values.append(part)
            steps.append(_placed(where, axis, before, lengths[place]))
        else:
            if part.shape[0] != 1:
                raise Refused("a constant with rows of its own")
            moved = F.pad(part.double(), where)
            offset = moved if offset is None else offset + moved
    return first.building.affine(values, steps, offset)


def stack(tensors: Any, dim: int = 0) -> Value:
    """Rows side by side along a new dimension."""
    parts = [unsqueeze(t, dim) if isinstance(t, Value) else t.unsqueeze(dim) for t in tensors]
    return cat(parts, dim)


def getitem(x: Any, index: Any) -> Any:
    """A slice of each row, or a choice of its coordinates."""
    if not isinstance(x, Value):
        return x[index]
    parts = index if isinstance(index, tuple) else (index,)
    whole = parts[0] == slice(None) if isinstance(parts[0], slice) else parts[0] is Ellipsis
    inner = sum(p is not Ellipsis and p is not None for p in parts)
    if not whole or (parts[0] is Ellipsis and inner >= len(x.shape)):
        raise Refused(ACROSS)
    if any(isinstance(p, Value) for p in parts):
        raise Refused("an index that depends on the input")
    return x.building.affine((x,), (maps.gathered(lambda v: v[parts], x.row, moves=True),))


def chunk(x: Value, chunks: int, dim: int = 0) -> tuple[Value, ...]:
    """Parts of a row, as equal as they get."""
    size = -(-x.shape[dim] // chunks)
    return split(x, size, dim)


def split(x: Value, split_size: Any, dim: int = 0) -> tuple[Value, ...]:
    """Parts of a row of given length, or of given lengths."""
    axis, out, begun = dim % len(x.shape), [], 0
    sizes = split_size if isinstance(split_size, (tuple, list)) else [split_size] * (-(-x.shape[axis] // split_size))
    for size in sizes:
        out.append(getitem(x, (slice(None),) * axis + (slice(begun, begun + size),)))
        begun += size
    return tuple(out)


def expand(x: Any, *sizes: Any) -> Any:
    """Dimensions of one repeated."""
    if not isinstance(x, Value):
        return x.expand(*sizes)
    shape = tuple(_empty(x).expand(*sizes).shape)
    _rows(x, shape)
    if len(shape) != len(x.shape):
        raise Refused(ACROSS)
    return expanded(x, shape[1:])


def _placed(where: tuple[int, ...], axis: int, before: int, length: int) -> maps.Map:
    return maps.turned(lambda v: F.pad(v, where), lambda g: g.narrow(axis, before, length))


def _empty(x: Value) -> Tensor:
    return torch.empty(x.shape, device="meta")


def _rows(x: Value, shape: tuple[int, ...]) -> None:
    if not shape or shape[0] != x.shape[0]:
        raise Refused(ACROSS)


def _reshaped(x: Value, shape: tuple[int, ...]) -> Value:
    _rows(x, shape)
    row, was = shape[1:], x.row
    if row == was:
        return x
    step = maps.turned(lambda v: v.reshape(len(v), *row), lambda g: g.reshape(len(g), *was))
    return x.building.affine((x,), (step,))
