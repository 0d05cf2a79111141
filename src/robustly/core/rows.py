"""A batch of inputs, whatever they are: a tensor (B, ...) or a tuple of texts. The core needs only these verbs of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias, TypeVar, cast

import torch
from torch import Tensor

Texts: TypeAlias = tuple[str, ...]
Batch: TypeAlias = Tensor | Texts
T = TypeVar("T", bound=Batch)


def take(z: T, index: Tensor) -> T:
    """The rows of `z` at `index` (long, (R,))."""
    rows = z[index] if isinstance(z, Tensor) else tuple(z[i] for i in index.tolist())
    return cast(T, rows)


def put(z: T, index: Tensor, rows: T) -> T:
    """A copy of `z` whose rows at `index` are `rows`."""
    if isinstance(z, Tensor):
        return cast(T, z.index_copy(0, index, cast(Tensor, rows)))
    out = list(z)
    for i, row in zip(index.tolist(), cast(Texts, rows), strict=True):
        out[i] = row
    return cast(T, tuple(out))


def spread(rows: Tensor, index: Tensor, count: int, fill: float = 0.0) -> Tensor:
    """A tensor of `count` rows that has `rows` at `index` and `fill` elsewhere."""
    out = rows.new_full((count, *rows.shape[1:]), fill)
    return out.index_copy_(0, index, rows)


def column(value: Tensor, like: Tensor) -> Tensor:
    """A per-example value (B,) shaped so that it broadcasts against `like` (B, ...)."""
    return value.reshape(-1, *(1,) * (like.dim() - 1))


def slices(count: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` rows."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def cut(z: T, part: slice) -> T:
    """The rows of a slice."""
    return cast(T, z[part])


def device_of(z: Batch) -> torch.device:
    """Where the batch lies; texts lie on the CPU."""
    return z.device if isinstance(z, Tensor) else torch.device("cpu")
