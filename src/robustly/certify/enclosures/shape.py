"""Operations that only rearrange or select the numbers of a row. What would move numbers between rows is refused."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from robustly.certify.enclosures.pointwise import Refused
from robustly.certify.enclosures.value import Interval

ACROSS = "it would mix the rows of the batch"


def flatten(x: Interval, start_dim: int = 0, end_dim: int = -1) -> Interval:
    """The dimensions from start_dim to end_dim as one."""
    if start_dim % len(x.shape) == 0 and end_dim % len(x.shape) != 0:
        raise Refused(ACROSS)
    return x.moved(lambda v: v.flatten(start_dim, end_dim))


def reshape(x: Interval, *shape: Any) -> Interval:
    """The numbers of each row in another shape."""
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    out = x.lower.reshape(sizes)
    if len(out) != len(x.lower):
        raise Refused(ACROSS)
    return x.moved(lambda v: v.reshape(len(v), *out.shape[1:]))


def permute(x: Interval, *dims: Any) -> Interval:
    """The dimensions of a row in another order."""
    order = tuple(dims[0]) if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    if order[0] % len(x.shape) != 0:
        raise Refused(ACROSS)
    return x.moved(lambda v: v.permute(order))


def transpose(x: Interval, dim0: int, dim1: int) -> Interval:
    """Two dimensions of a row swapped."""
    if 0 in (dim0 % len(x.shape), dim1 % len(x.shape)):
        raise Refused(ACROSS)
    return x.moved(lambda v: v.transpose(dim0, dim1))


def squeeze(x: Interval, dim: int | None = None) -> Interval:
    """A dimension of one left out."""
    if dim is None or dim % len(x.shape) == 0:
        raise Refused(ACROSS)
    return x.moved(lambda v: v.squeeze(dim))


def unsqueeze(x: Interval, dim: int) -> Interval:
    """A dimension of one put in."""
    if dim % (len(x.shape) + 1) == 0:
        raise Refused(ACROSS)
    return x.moved(lambda v: v.unsqueeze(dim))


def same(x: Any) -> Any:
    """The value as it is."""
    return x


def dropout(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Nothing, in evaluation mode."""
    if training:
        raise Refused("it is in training mode, so the model is random")
    return x


def pad(x: Interval, pad: Any, mode: str = "constant", value: float | None = None) -> Interval:
    """Numbers put around each row."""
    if len(pad) > 2 * (len(x.shape) - 1):
        raise Refused(ACROSS)
    fill = None if value is None else float(torch.tensor(value, dtype=torch.float32))
    return x.selected(lambda v: F.pad(v, tuple(pad), mode, fill))


def cat(tensors: Any, dim: int = 0) -> Interval:
    """Rows joined side by side."""
    if not all(isinstance(t, Interval) for t in tensors):
        raise Refused("a constant among the parts")
    if dim % len(tensors[0].shape) == 0:
        raise Refused(ACROSS)
    return Interval(torch.cat([t.lower for t in tensors], dim), torch.cat([t.upper for t in tensors], dim))


def getitem(x: Any, index: Any) -> Any:
    """A slice of each row."""
    if not isinstance(x, Interval):
        return x[index]
    parts = index if isinstance(index, tuple) else (index,)
    whole = parts[0] == slice(None) if isinstance(parts[0], slice) else parts[0] is Ellipsis
    inner = sum(p is not Ellipsis and p is not None for p in parts)
    plain = all(isinstance(p, (int, slice)) or p is Ellipsis or p is None for p in parts)
    if not whole or not plain or (parts[0] is Ellipsis and inner >= len(x.shape)):
        raise Refused(ACROSS if not whole else "an index that is not a plain slice")
    return x.selected(lambda v: v[parts])


def size(x: Any, dim: int | None = None) -> Any:
    """The shape, or one number of it."""
    return x.shape if dim is None else x.shape[dim]


def attribute(x: Any, name: str) -> Any:
    """`x.shape` or `x.ndim`."""
    if name == "ndim":
        return len(x.shape)
    if name != "shape":
        raise Refused(f"the attribute {name}")
    return x.shape
