"""Other examples that an attack may draw from: given to it, and never the rest of the batch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.errors import UsageError


@dataclass(frozen=True, eq=False)
class Pool:
    """Inputs x (P, ...) and their labels y, int64 (P,). In a record it stands by its name and the hash of its content."""

    x: Tensor
    y: Tensor
    name: str = "pool"

    def __post_init__(self) -> None:
        """Refuse what is no pool."""
        if not len(self.x) or len(self.x) != len(self.y):
            raise UsageError(
                f"a pool is some inputs with a label each, got {len(self.x)} inputs, {len(self.y)} labels."
            )
        if self.y.dtype != torch.int64 or self.y.dim() != 1:
            raise UsageError(f"labels of a pool are int64 (P,), got {self.y.dtype} {tuple(self.y.shape)}.")

    @property
    def digest(self) -> str:
        """Hash of inputs and labels."""
        parts = (self.x.detach().cpu().contiguous(), self.y.detach().cpu().contiguous())
        told = hashlib.sha256(str(tuple(self.x.shape)).encode())
        for part in parts:
            told.update(part.numpy().tobytes())
        return told.hexdigest()

    def to(self, like: Tensor) -> Self:
        """The pool with inputs of that dtype, on that device."""
        if (self.x.dtype, self.x.device) == (like.dtype, like.device):
            return self
        return type(self)(self.x.to(like), self.y.to(like.device), self.name)

    def drawn(self, y: Tensor, key: Tensor) -> Tensor:
        """A random input of another class than y (B,) a row, uniform among them, by key (B, 2).

        Raises:
            UsageError: a row's class is the pool's only one.
        """
        other = self.y[None] != y[:, None]
        count = other.sum(1)
        if not count.all():
            label = int(y[int((count == 0).nonzero()[0])])
            raise UsageError(f"every input of the {self.name} is of class {label}; give one with other classes too.")
        place = keys.integers(key, count)
        chosen = (other.cumsum(1) == place[:, None] + 1) & other
        return self.x[chosen.int().argmax(1)]
