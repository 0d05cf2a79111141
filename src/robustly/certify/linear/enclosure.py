"""What is known of a program's values over a region: ranges of the sources of its nonlinear nodes, and rounding.

Every bound here is on what float32 computes, not on what exact arithmetic would. Each node's result is its exact function
of the computed sources plus an error of at most `rounding`, which follows a priori from the ranges of the sources
(`enclosures.value`). Bounds that are carried back through a node pay for that error there, scaled by their own slope, so
nothing has to be known of how errors grow. The same payment covers our own float64 arithmetic: it costs at most n 2^-53 of
the magnitudes handled for sums of n terms, and a node pays 2^-23 of them, or where it is exact in float32 still `FINE`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustly.certify.enclosures.value import LARGE
from robustly.certify.linear.program import Affine, Input, Node, Nonlinear, Program
from robustly.certify.linear.region import Region
from robustly.certify.linear.rules import FINE, Box, Planes, added

BEYOND = 1e150
"""Numbers that float64 holds with room for a product."""

Splits = dict[int, Tensor]
"""For nodes of `Program.switches`, int8 (B, *shape): 1 where the source of the kink is >= 0, -1 where it is <= 0, else 0."""


@dataclass(frozen=True)
class Enclosure:
    """boxes: ranges of the nodes in `Program.bounded`. rounding: float64 (B, *shape) of every node but the input.

    Both stay valid for any part of the region, so a branch and bound hands them down. An empty box (low > high) proves
    that nothing of the region is there.
    """

    boxes: dict[int, Box] = field(default_factory=dict)
    rounding: dict[int, Tensor] = field(default_factory=dict)
    tables: dict[int, Planes] = field(default_factory=dict, repr=False, compare=False)
    """Of nodes whose rule has `lines`: those for the boxes here, kept from one step of a search to the next."""

    def take(self, index: Tensor) -> Enclosure:
        """Some rows, in any order and as often as wanted."""
        boxes = {k: b.take(index) for k, b in self.boxes.items()}
        return Enclosure(boxes, {k: r[index] for k, r in self.rounding.items()})

    def to(self, dtype: torch.dtype) -> Enclosure:
        """In another dtype (float32: for search, where no bound has to hold)."""
        boxes = {k: b.to(dtype) for k, b in self.boxes.items()}
        return Enclosure(boxes, {k: r.to(dtype) for k, r in self.rounding.items()})

    def split(self, program: Program, splits: Splits) -> Enclosure:
        """The ranges on one side of kinks."""
        boxes = dict(self.boxes)
        for number, sign in splits.items():
            source = program.switches[number]
            box = boxes[source]
            boxes[source] = Box(
                torch.where(sign > 0, box.low.clamp_min(0), box.low),
                torch.where(sign < 0, box.high.clamp_max(0), box.high),
            )
        return Enclosure(boxes, self.rounding)

    @property
    def empty(self) -> Tensor:
        """Bool (B,): rows where some range has nothing in it, so that no point of the region is there."""
        return torch.stack([(b.low > b.high).flatten(1).any(1) for b in self.boxes.values()]).any(0)


Narrow = Callable[[int, Box, Enclosure], Box]
"""From a node, its range so far and all that is known of the nodes before it: a narrower range of it."""


def enclose(
    program: Program, region: Region, narrow: Narrow | None = None, known: Enclosure | None = None
) -> Enclosure:
    """Ranges by interval arithmetic, one node after the other, each narrowed by `known` and by `narrow` before it is used.

    Arithmetic in the dtype of the region. Values beyond float32's range become NaN, of which nothing is claimed.
    """
    out = Enclosure()
    boxes: dict[int, Box] = {}
    for number, node in enumerate(program.nodes):
        if isinstance(node, Input):
            box = region.box
        else:
            sources = [boxes[s] for s in node.sources]
            rounding = _rounding(node, sources)
            if known is not None and number in known.rounding:
                rounding = torch.fmin(rounding, known.rounding[number])
            out.rounding[number] = rounding
            box = _range(node, sources, rounding)
        if number in program.bounded:
            if known is not None and number in known.boxes:
                box = meet(box, known.boxes[number])
            if narrow is not None:
                box = narrow(number, box, out)
            out.boxes[number] = box
        boxes[number] = box
    return out


def meet(one: Box, two: Box) -> Box:
    """What lies in both; NaN, of which nothing is known, gives way."""
    return Box(torch.fmax(one.low, two.low), torch.fmin(one.high, two.high))


def _rounding(node: Affine | Nonlinear, sources: list[Box]) -> Tensor:
    sizes = [b.size for b in sources]
    if node.rounding is not None:
        return node.rounding(sizes)
    if isinstance(node, Nonlinear):
        return torch.zeros_like(sizes[0])  # its planes are widened
    total = added(m.size(s) for m, s in zip(node.maps, sizes, strict=True))
    return FINE * (total if node.offset is None else total + node.offset.abs().to(sizes[0].dtype))


def _range(node: Node, sources: list[Box], rounding: Tensor) -> Box:
    if isinstance(node, Affine):
        centre = added(m.forward((b.low + b.high) / 2) for m, b in zip(node.maps, sources, strict=True))
        reach = added(m.size((b.high - b.low) / 2) for m, b in zip(node.maps, sources, strict=True)) + rounding
        centre = centre if node.offset is None else centre + node.offset.to(rounding.dtype)
        low, high = centre - reach, centre + reach
    else:
        assert isinstance(node, Nonlinear)
        low, high = node.rule.range(sources)
        low, high = low - rounding, high + rounding
    large = LARGE if node.rounding is not None else BEYOND  # float32 computes the steps of no decomposition
    fine = (low > -large) & (high < large)
    return Box(torch.where(fine, low, torch.nan), torch.where(fine, high, torch.nan))
