"""A network as a list of nodes of two kinds, affine and nonlinear, which is all that linear bounds have to know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import TypeAlias

import torch
from torch import Tensor

from robustly.certify.linear.reading import Local, Window, Windows
from robustly.certify.linear.rules import Rule

Shape: TypeAlias = tuple[int, ...]
Rounding: TypeAlias = Callable[[Sequence[Tensor]], Tensor]
"""From the largest absolute values of a node's sources, (B, *shape) each, what float32 may get wrong of its result."""


@dataclass(frozen=True)
class Map:
    """A linear map of rows: `forward` A, `backward` its transpose, `size` its entries' absolute values |A|.

    Each takes (N, *shape), float32 or float64, and gives (N, *other shape) in the same dtype. moves: does every result
    read one number alone?
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor], Tensor]
    size: Callable[[Tensor], Tensor]
    moves: bool = False
    terms: int = 1
    """Products that one result is the sum of."""
    local: Local | None = None
    """How it reads its source by windows, where it does."""


@dataclass(frozen=True)
class Input:
    """Where the set enters."""

    shape: Shape
    where: str = "input"
    sources: tuple[int, ...] = ()


@dataclass(frozen=True)
class Affine:
    """sum_i maps_i(source_i) + offset, where offset is float64 (1, *shape) or None.

    rounding: what float32 adds; None where the operation only moves numbers about, or stands for no operation of the
    model's own (a step of a decomposition, of which the last step bears the rounding of the whole).
    """

    shape: Shape
    where: str
    sources: tuple[int, ...]
    maps: tuple[Map, ...]
    offset: Tensor | None = None
    rounding: Rounding | None = None


@dataclass(frozen=True)
class Nonlinear:
    """A rule applied elementwise to sources of one shape."""

    shape: Shape
    where: str
    sources: tuple[int, ...]
    rule: Rule
    rounding: Rounding | None = None


ELEMENTWISE = 10
"""What a number costs besides its products: sums over offsets and roundings, choices between planes."""
SMALL = 0.5
"""Windows of more than this share of a node are no longer worth their trouble."""

Node: TypeAlias = Input | Affine | Nonlinear


@dataclass(frozen=True)
class Program:
    """Nodes in the order they run, from the input (0) to the output (the last). Shapes leave out the batch."""

    nodes: tuple[Node, ...]
    ancestors: tuple[frozenset[int], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """What each node is made from, itself included."""
        found: list[frozenset[int]] = []
        for number, node in enumerate(self.nodes):
            found.append(frozenset({number}).union(*(found[s] for s in node.sources)))
        object.__setattr__(self, "ancestors", tuple(found))

    @property
    def output(self) -> int:
        """The number of the last node."""
        return len(self.nodes) - 1

    @cached_property
    def bounded(self) -> tuple[int, ...]:
        """The sources of nonlinear nodes, whose ranges decide how tight the bounds are."""
        return tuple(sorted({s for n in self.nodes if isinstance(n, Nonlinear) for s in n.sources}))

    @cached_property
    def work(self) -> tuple[int, ...]:
        """For each node the operations, roughly, that one bound on one of its numbers takes."""
        each = [(sum(m.terms for m in n.maps) if isinstance(n, Affine) else 1) + ELEMENTWISE for n in self.nodes]
        found = []
        for target, before in enumerate(self.ancestors):
            near = self.windows(target)
            whole = [i for i in before if near is None or i <= near.end]
            part = [] if near is None else [i for i in before if i > near.end]
            count = sum(prod(self.nodes[i].shape) * each[i] for i in whole)
            found.append(count + sum(self.numbers(i, near.at[i]) * each[i] for i in part if near is not None))
        return tuple(found)

    @cached_property
    def products(self) -> int:
        """Products in one evaluation of the network."""
        return sum(prod(n.shape) * sum(m.terms for m in n.maps) for n in self.nodes if isinstance(n, Affine))

    def numbers(self, number: int, window: Window) -> int:
        """How many numbers of a node a window has."""
        return self.nodes[number].shape[0] * prod(window.sides)

    def windows(self, target: int) -> Windows | None:
        """What each number of a node reads of those before it, as far as that is a small window; None where it is not at all."""
        dims = len(self.nodes[target].shape) - 1
        at = {target: Window((1,) * dims, (0,) * dims, (1,) * dims)}
        for number in range(target, 0, -1):
            if number not in at:
                continue
            read = self._read(number, at)
            if read is None:
                return None if number == target else Windows(number, at)
            at.update(read)
        return Windows(0, at)

    def _read(self, number: int, at: dict[int, Window]) -> dict[int, Window] | None:
        """The windows of a node's sources, those they have already joined in; None unless all are small."""
        node, found = self.nodes[number], {}
        if isinstance(node, Input) or len(node.shape) < 2:
            return None
        maps: Sequence[Map | None] = node.maps if isinstance(node, Affine) else (None,) * len(node.sources)
        for source, step in zip(node.sources, maps, strict=True):
            if step is not None and step.local is None:
                return None
            window: Window | None = at[number] if step is None or step.local is None else step.local.before(at[number])
            known = found.get(source, at.get(source))
            window = window if window is None or known is None else known.joined(window)
            if window is None or self.numbers(source, window) > SMALL * prod(self.nodes[source].shape):
                return None
            found[source] = window
        return found

    @cached_property
    def exact(self) -> frozenset[int]:
        """Nodes that interval arithmetic bounds exactly over a box: no input is read twice on the way to a number."""
        found, mixed = {0}, {0: 0}
        for number, node in enumerate(self.nodes):
            if isinstance(node, Affine) and len(node.sources) == 1 and node.sources[0] in found:
                mixed[number] = mixed[node.sources[0]] + (not node.maps[0].moves)
                if mixed[number] <= 1:
                    found.add(number)
        return frozenset(found)

    @cached_property
    def switches(self) -> dict[int, int]:
        """Nodes with a kink where one of their sources is zero, and that source: what a branch and bound may split.

        ReLU, and what was made of it (clamps, leaky ReLU, the maxima of a pool).
        """
        found = ((i, n) for i, n in enumerate(self.nodes) if isinstance(n, Nonlinear))
        return {i: n.sources[n.rule.switch] for i, n in found if n.rule.switch is not None}

    def unrounded(self) -> Program:
        """The same network in exact arithmetic instead of float32: for comparison with verifiers that leave rounding out."""
        return Program(tuple(n if isinstance(n, Input) else replace(n, rounding=None) for n in self.nodes))

    def values(self, x: Tensor) -> list[Tensor]:
        """All nodes at inputs x (B, *shape), in the dtype of x, without rounding but that of the dtype."""
        found: list[Tensor] = []
        for node in self.nodes:
            if isinstance(node, Input):
                found.append(x)
            elif isinstance(node, Affine):
                parts = [m.forward(found[s]) for s, m in zip(node.sources, node.maps, strict=True)]
                total = torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
                found.append(total if node.offset is None else total + node.offset.to(x.dtype))
            else:
                found.append(node.rule.value(*(found[s] for s in node.sources)))
        return found

    def __call__(self, x: Tensor) -> Tensor:
        """The output at inputs x (B, *shape)."""
        return self.values(x)[-1]
