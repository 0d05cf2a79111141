"""Numbers of several nodes side by side in one row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from robustly.certify.linear.program import Nonlinear, Program, Shape


@dataclass(frozen=True)
class Layout:
    """Which nodes, in order, and their shapes."""

    shapes: Mapping[int, Shape]

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return sum(prod(shape) for shape in self.shapes.values())

    def pack(self, parts: Mapping[int, Tensor], like: Tensor, leading: int = 1) -> Tensor:
        """(*lead, width) of parts (*lead, *shape); zeros in the dtype of `like` (*lead, ...) for nodes that are missing."""
        lead = like.shape[:leading]
        missing = {k: like.new_zeros(*lead, prod(s)) for k, s in self.shapes.items() if k not in parts}
        every = [missing[k] if k in missing else parts[k].flatten(leading) for k in self.shapes]
        return torch.cat(every, -1) if every else like.new_zeros(*lead, 0)

    def unpack(self, row: Tensor) -> dict[int, Tensor]:
        """The parts of (*lead, width)."""
        sizes = [prod(shape) for shape in self.shapes.values()]
        parts = zip(self.shapes.items(), row.split(sizes, -1), strict=True)
        return {k: part.reshape(*row.shape[:-1], *shape) for (k, shape), part in parts}


def kinks(program: Program) -> Layout:
    """The nodes that can be split."""
    return Layout({k: program.nodes[k].shape for k in sorted(program.switches)})


def choices(program: Program) -> Layout:
    """The nodes whose planes leave a choice."""
    nodes = enumerate(program.nodes)
    return Layout({k: n.shape for k, n in nodes if isinstance(n, Nonlinear) and n.rule.start is not None})
