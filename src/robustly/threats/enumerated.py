"""Sets whose members can be counted off: every input, changed in each of finitely many ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.rows import take
from robustly.threats.base import Domain, PerturbationSet
from robustly.threats.images import from_unit, to_unit

LEVELS = 2**20
"""Changed images are stored in so many levels of the range, so that no rounding of float64, which may differ by machine
or batch, reaches the bits of a member."""


class Change(NamedTuple):
    """One way to change images. size: in the threat's own measure. render: float64 images in [0, 1], (B, C, H, W), to
    float64 images of the same shape; each row apart."""

    size: float
    name: str
    render: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Enumerated(PerturbationSet):
    """x itself and each of its changes: `len(changes) + 1` members, member 0 being x.

    x: float32 (B, C, H, W). changes: by size, the smallest first, the same for all rows.
    """

    x: Tensor
    domain: Domain
    changes: tuple[Change, ...]

    @property
    def count(self) -> int:
        """How many members each row has; some may be equal."""
        return len(self.changes) + 1

    def member(self, number: int) -> Tensor:
        """The member of that number of every row, float32 (B, C, H, W)."""
        if number == 0:
            return self.x
        made = self.changes[number - 1].render(to_unit(self.x, self.domain))
        return from_unit((made.clamp(0, 1) * LEVELS).round() / LEVELS, self.domain)

    def pick(self, numbers: Tensor) -> Tensor:
        """A member of each row, by its number, int64 (B,)."""
        out = self.x.clone()
        for number in numbers.unique().tolist():
            rows = (numbers == number).nonzero().squeeze(1)
            out[rows] = self.take(rows).member(number)
        return out

    def size_of(self, number: int) -> float:
        """The size of the change that makes a member."""
        return 0.0 if number == 0 else self.changes[number - 1].size

    def contains(self, z: Tensor) -> Tensor:
        """Bool (B,): z_i is one of the members of row i, number for number; there is no slack."""
        return torch.isfinite(self.distance(z))

    def distance(self, z: Tensor) -> Tensor:
        """Float64 (B,): the size of the smallest change that makes z_i; infinite where none does."""
        out = torch.full((len(z),), torch.inf, dtype=torch.float64, device=z.device)
        left = torch.arange(len(z), device=z.device)
        for number in range(self.count):
            if not len(left):
                break
            some = self.take(left)
            same = (some.member(number).double() == take(z, left).double()).flatten(1).all(1)
            out[left[same]] = self.size_of(number)
            left = left[~same]
        return out

    def sample(self, key: Tensor) -> Tensor:
        """Each number equally likely."""
        return self.pick(keys.integers(key, self.count))

    def take(self, index: Tensor) -> Self:
        return replace(self, x=self.x[index])
