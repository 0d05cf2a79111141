"""Losses that draw random numbers: what they climb to carries a key a row, so that an example draws the same in any batch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robustly.goals import Goal


@dataclass(frozen=True)
class Keyed(Goal):
    """A goal for a loss that draws: key, int64 (B, 2), as in `core.keys`."""

    key: Tensor | None = None

    def take(self, index: Tensor | slice) -> Keyed:
        """The goal of some rows, with their keys."""
        some = super().take(index)
        return Keyed(some.y, some.target, None if self.key is None else self.key[index])

    @property
    def drawn(self) -> Tensor:
        """The key, which must be there."""
        assert self.key is not None
        return self.key


def keyed(goal: Goal, key: Tensor) -> Keyed:
    """The goal with a key."""
    return Keyed(goal.y, goal.target, key)
