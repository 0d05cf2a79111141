"""What all sub-problems of one search share, and how some of them are bounded together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

import torch
from torch import Tensor

from robustly.certify.branching.layout import Layout, choices, kinks
from robustly.certify.branching.scores import Part
from robustly.certify.branching.shelf import Leaves
from robustly.certify.linear.bounds import Specs
from robustly.certify.linear.crown import ROOM, crown
from robustly.certify.linear.enclosure import Enclosure
from robustly.certify.linear.program import Program
from robustly.certify.linear.region import Region
from robustly.certify.linear.rules import Box
from robustly.certify.linear.slopes import Tuned, optimise


@dataclass
class Tree:
    """A program, and Q questions about it: regions and R specs each. known: ranges that leaves refer to by their row."""

    program: Program
    region: Region
    specs: Specs
    known: Enclosure | None = None
    kinks: Layout = field(init=False)
    choices: Layout = field(init=False)

    def __post_init__(self) -> None:
        """Where signs and slopes lie in a row."""
        self.kinks, self.choices = kinks(self.program), choices(self.program)

    @property
    def batch(self) -> int:
        """Sub-problems at once: as many as keep tensors in the caches."""
        return max(4, ROOM // (max(prod(n.shape) for n in self.program.nodes) * self.specs.weights.shape[1]))

    @property
    def ranges(self) -> int:
        """Rows of `known`."""
        return 0 if self.known is None else len(next(iter(self.known.rounding.values())))

    def learn(self, enclosure: Enclosure) -> Tensor:
        """Keep ranges of N sub-problems; their rows (N,)."""
        first = self.ranges
        self.known = enclosure if self.known is None else _joined((self.known, enclosure))
        return torch.arange(first, self.ranges)

    def part(self, leaves: Leaves) -> Part:
        """The sub-problems, ranges with their signs taken in."""
        assert self.known is not None
        splits = self.kinks.unpack(leaves.signs)
        enclosure = self.known.take(leaves.ranges).split(self.program, splits)
        return Part(self.region.take(leaves.owner), enclosure, self.specs.take(leaves.owner), splits)

    def tuned(self, leaves: Leaves) -> Tuned:
        """Where their search for slopes and multipliers begins."""
        return Tuned(leaves.lower, self.choices.unpack(leaves.slopes), self.kinks.unpack(leaves.multipliers))

    def narrowed(self, leaves: Leaves) -> Leaves:
        """The same leaves, with ranges found anew behind the kinks that are decided, and kept."""
        part = self.part(leaves)
        behind = {k for k, v in part.splits.items() if v.any()}
        skip = frozenset(n for n in self.program.bounded if not behind & self.program.ancestors[n])
        enclosure = crown(self.program, part.region, part.enclosure, part.splits, skip=skip)
        return replace(leaves, ranges=self.learn(enclosure))

    def bounded(self, leaves: Leaves, steps: int, rate: float) -> Leaves:
        """The same leaves with the best bounds of `steps` steps, never looser than those they have."""
        part, start = self.part(leaves), self.tuned(leaves)
        found = optimise(
            self.program, part.region, part.enclosure, part.specs, steps, part.splits, start, rate, dtype=torch.float32
        )
        return self.with_choice(leaves, found)

    def with_choice(self, leaves: Leaves, found: Tuned) -> Leaves:
        """The leaves with these bounds, slopes and multipliers."""
        like = leaves.lower
        slopes, multipliers = (
            layout.pack(parts, like, 2)
            for layout, parts in ((self.choices, found.slopes), (self.kinks, found.multipliers))
        )
        return replace(leaves, lower=torch.maximum(leaves.lower, found.lower), slopes=slopes, multipliers=multipliers)


def _joined(parts: Sequence[Enclosure]) -> Enclosure:
    boxes = {
        k: Box(torch.cat([p.boxes[k].low for p in parts]), torch.cat([p.boxes[k].high for p in parts]))
        for k in parts[0].boxes
    }
    return Enclosure(boxes, {k: torch.cat([p.rounding[k] for p in parts]) for k in parts[0].rounding})
