"""Open sub-problems, the worst at hand; packed, for there may be many."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

import torch
from torch import Tensor

LARGEST = 6e4
"""Multipliers are kept in float16; a smaller one is as sound as any."""


@dataclass(frozen=True)
class Leaves:
    """N sub-problems of questions with R rows.

    owner (N,): their questions. ranges (N,): which ranges hold there, besides the signs (N, W) int8 of kinks (1, -1, or 0 where it
    is open). lower float64 (N, R): bounds of the rows. slopes (N, R, V), multipliers (N, R, W): what gave them, to start from.
    """

    owner: Tensor
    ranges: Tensor
    signs: Tensor
    lower: Tensor
    slopes: Tensor
    multipliers: Tensor

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def fields(self) -> tuple[Tensor, ...]:
        """All of it, in order."""
        return self.owner, self.ranges, self.signs, self.lower, self.slopes, self.multipliers

    def take(self, index: Tensor) -> Leaves:
        """Some of them."""
        return Leaves(*(t[index] for t in self.fields))

    @property
    def score(self) -> Tensor:
        """How near (N,) each is to being closed, which any single row above zero does."""
        return self.lower.amax(1)


class Shelf:
    """Leaves in slots of a few large tensors, and a heap of their scores. room: bytes that they may take."""

    def __init__(self, like: Leaves, room: float) -> None:
        packed = _packed(like)
        self._each = sum(t[:1].numel() * t.element_size() for t in packed)
        self._kept = [t.new_empty(0, *t.shape[1:]) for t in packed]
        self._heap: list[tuple[float, int]] = []
        self._free: list[int] = []
        self._most = int(room // max(1, self._each))

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, leaves: Leaves) -> bool:
        """Take leaves in; False, and none of them, where there is no room."""
        if len(self) + len(leaves) > self._most:
            return False
        while len(self._free) < len(leaves):
            held = len(self._kept[0])
            more = min(max(64, held, len(leaves)), max(self._most - held, len(leaves)))
            self._kept = [torch.cat((t, t.new_empty(more, *t.shape[1:]))) for t in self._kept]
            self._free.extend(range(held, held + more))
        slots = [self._free.pop() for _ in range(len(leaves))]
        for kept, new in zip(self._kept, _packed(leaves), strict=True):
            kept[slots] = new
        for slot, score in zip(slots, leaves.score.tolist(), strict=True):
            heappush(self._heap, (score, slot))
        return True

    def worst(self, count: int) -> Leaves:
        """Take out the `count` leaves of lowest score."""
        slots = [heappop(self._heap)[1] for _ in range(min(count, len(self._heap)))]
        self._free.extend(slots)
        owner, ranges, signs, lower, slopes, multipliers = (t[slots] for t in self._kept)
        return Leaves(owner, ranges, signs, lower, slopes.double(), multipliers.double())

    @property
    def scores(self) -> tuple[Tensor, Tensor]:
        """Whose the leaves are, and how near each is to being closed."""
        slots = [slot for _, slot in self._heap]
        return self._kept[0][slots], self._kept[3][slots].amax(1)


def _packed(leaves: Leaves) -> tuple[Tensor, ...]:
    short = leaves.multipliers.clamp_max(LARGEST).half()
    return (leaves.owner, leaves.ranges, leaves.signs, leaves.lower, leaves.slopes.half(), short)
