"""The program under construction, and the values that rules of lowering pass around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from robustly.certify.enclosures.pointwise import Refused
from robustly.certify.enclosures.value import TINY, UNIT
from robustly.certify.linear.program import Affine, Input, Map, Node, Nonlinear, Program, Rounding
from robustly.certify.linear.rules import Rule, added

BATCH = 7
"""Rows that shapes are worked out with: a number that a reshape across rows is unlikely to divide."""


@dataclass
class Building:
    """Nodes so far; `where` is the operation being lowered."""

    device: torch.device
    nodes: list[Node] = field(default_factory=list)
    where: str = "input"

    def input(self, shape: tuple[int, ...]) -> Value:
        """The first node."""
        self.nodes.append(Input(shape))
        return Value(self, 0)

    def affine(
        self,
        sources: Sequence[Value],
        maps: Sequence[Map],
        offset: Tensor | None = None,
        rounding: Rounding | None = None,
    ) -> Value:
        """sum_i maps_i(source_i) + offset; the offset broadcasts to a row."""
        shapes = {tuple(m.forward(s.blank()).shape[1:]) for s, m in zip(sources, maps, strict=True)}
        if len(shapes) != 1:
            raise Refused(f"shapes {' and '.join(map(str, sorted(shapes)))} differ")
        (shape,) = shapes
        if offset is not None:
            offset = offset.detach().double()
            if torch.broadcast_shapes(offset.shape, (1, *shape)) != (1, *shape):
                raise Refused(f"a constant of shape {tuple(offset.shape)} against rows of shape {shape}")
            offset = offset.expand(1, *shape).contiguous()
        numbers = tuple(s.number for s in sources)
        self.nodes.append(Affine(shape, self.where, numbers, tuple(maps), offset, rounding))
        return Value(self, len(self.nodes) - 1)

    def nonlinear(self, rule: Rule, *sources: Value, rounding: Rounding | None = None) -> Value:
        """The rule applied to sources of one shape."""
        shapes = {s.row for s in sources}
        if len(shapes) != 1:
            raise Refused(f"shapes {' and '.join(map(str, sorted(shapes)))} differ")
        numbers = tuple(s.number for s in sources)
        self.nodes.append(Nonlinear(sources[0].row, self.where, numbers, rule, rounding))
        return Value(self, len(self.nodes) - 1)

    def program(self, last: Value) -> Program:
        """What the value needs, renumbered, the value last."""
        needed = {0, last.number}
        for number in range(last.number, -1, -1):
            if number in needed:
                needed.update(self.nodes[number].sources)
        order = {old: new for new, old in enumerate(sorted(needed))}
        kept = (self.nodes[old] for old in order)
        return Program(tuple(replace(n, sources=tuple(order[s] for s in n.sources)) for n in kept))


@dataclass(frozen=True)
class Value:
    """A node of the program under construction, in place of the tensor that the model has there."""

    building: Building
    number: int

    @property
    def row(self) -> tuple[int, ...]:
        """The shape of a row."""
        return self.building.nodes[self.number].shape

    @property
    def shape(self) -> torch.Size:
        """The shape of a batch of `BATCH` rows."""
        return torch.Size((BATCH, *self.row))

    def blank(self) -> Tensor:
        """A batch of zeros."""
        return torch.zeros(1, *self.row, dtype=torch.float64, device=self.building.device)


def units(count: float, more: Tensor | float = 0.0) -> Rounding:
    """What float32 gets wrong elementwise: `count` units of the sizes of all sources and of `more`."""
    return lambda sizes: count * UNIT * (added(sizes) + more) + TINY
