"""A walk measured in widths of the domain, so that an attack does the same in any units of the input."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.steps.types import Case
from robustly.threats.ball import Ball
from robustly.threats.base import PerturbationSet
from robustly.threats.coordinates import bounds


class Room(NamedTuple):
    """Where the change of each input may go, (B, ...).

    x: the inputs. low, high: the bounds of a point, the domain and the mask, whatever eps is. least, most: the bounds of
    a change, in widths of the domain. width: of the domain, in units of the input.
    """

    x: Tensor
    low: Tensor
    high: Tensor
    least: Tensor
    most: Tensor
    width: float

    def fit(self, change: Tensor) -> Tensor:
        """The nearest change within the bounds, in widths."""
        return torch.minimum(torch.maximum(change, self.least), self.most)

    def at(self, change: Tensor) -> Tensor:
        """The point to ask for a change in widths: within the bounds to the last bit, and x itself where it is 0."""
        return torch.minimum(torch.maximum(self.x + self.width * change, self.low), self.high)

    def change(self, z: Tensor) -> Tensor:
        """The change in widths that leads to a point."""
        return self.fit((z - self.x) / self.width)


def room(case: Case, who: str, kinds: tuple[type[PerturbationSet], ...] = (Ball,)) -> Room:
    """The room around the inputs of a case.

    Raises:
        UsageError: the set is none of these balls, or its domain is unbounded; `who` is the attack that cannot walk there.
    """
    around = case.around
    if not isinstance(around, Ball) or not isinstance(around, kinds):
        known = ", ".join(sorted(k.__name__ for k in kinds))
        raise UsageError(f"{who} works in norm balls ({known}), not in {type(around).__name__}; give it say l2:inf.")
    if not (math.isfinite(around.domain.low) and math.isfinite(around.domain.high)):
        raise UsageError(f"{who} needs a bounded input range, got {around.domain}: declare it, say range=(0, 1).")
    low, high = bounds(around.x, around.domain, around.mask)
    width = (around.domain.high - around.domain.low) or 1.0
    return Room(around.x, low, high, (low - around.x) / width, (high - around.x) / width, width)
