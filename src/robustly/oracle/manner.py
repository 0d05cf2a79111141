"""How a point is asked: once, or several times and near by, the answers averaged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.rows import column
from robustly.threats.base import PerturbationSet, Smooth


@dataclass(frozen=True)
class Noise:
    """Gradients are averaged over the point and times - 1 members of the set near it.

    key: int64 (B, 2). size: how far each coordinate is moved at most, as a fraction of the set's radius.
    """

    times: int
    size: float
    key: Tensor

    def key_at(self, local: Tensor, spent: Tensor) -> Tensor:
        """Keys (R, 2) of some rows; `spent` (R,) are their passes so far, so that a row alone draws the same."""
        key = self.key[local]
        return torch.stack((key[:, 0], (key[:, 1] + spent) & 0xFFFFFFFF), 1)

    def near(self, around: PerturbationSet, z: Tensor, key: Tensor, index: int) -> Tensor:
        """A member near each z (R, ...)."""
        assert isinstance(around, Smooth)
        way = 2 * keys.uniform(keys.fold(key, index), z.shape[1:]) - 1
        return around.project(z + self.size * column(around.radius, z) * way)


@dataclass(frozen=True)
class Manner:
    """times: answers of a random model that are averaged at every point; each is a pass. noise: of gradients alone."""

    times: int = 1
    noise: Noise | None = None

    @property
    def price(self) -> int:
        """The most forward passes that asking one point takes; a row with a smaller budget left is closed."""
        return self.times * (1 if self.noise is None else self.noise.times)

    def take(self, index: Tensor) -> Self:
        """The manner for some rows."""
        if self.noise is None:
            return self
        return replace(self, noise=replace(self.noise, key=self.noise.key[index]))
