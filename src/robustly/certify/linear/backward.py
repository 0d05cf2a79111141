"""CROWN: a linear function of a node carried back to the input (Zhang et al. 2018, arXiv:1811.00866).

All functions bound from below; an upper bound is the lower one of the negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.certify.linear.enclosure import Enclosure, Splits
from robustly.certify.linear.program import Affine, Nonlinear, Program
from robustly.certify.linear.region import Region
from robustly.certify.linear.rules import Planes, widened
from robustly.certify.linear.smooth import between

Slopes = Mapping[int, Tensor]
"""A choice among a nonlinear node's planes, in [0, 1], (B, S, *shape) or (B, 1, *shape): see `Rule.planes`."""

Multipliers = Mapping[int, Tensor]
"""For split nodes, >= 0, (B, S, *shape) or (B, 1, *shape): what a split constraint is worth (beta-CROWN)."""


class Line(NamedTuple):
    """<slope, x> + offset <= what was carried back, all over the region; slope (B, S, *input), offset (B, S)."""

    slope: Tensor
    offset: Tensor

    def least(self, region: Region) -> Tensor:
        """At most its minimum over the region, (B, S)."""
        return region.least(self.slope) + self.offset


def relax(
    program: Program, enclosure: Enclosure, slopes: Slopes | None = None, of: int | None = None
) -> dict[int, Planes]:
    """Planes of every nonlinear node that `of` (the output) is made from, rounding included."""
    wanted = program.ancestors[program.output if of is None else of]
    return {
        number: plane(node, number, enclosure, None if slopes is None else slopes.get(number))
        for number, node in enumerate(program.nodes)
        if isinstance(node, Nonlinear) and number in wanted
    }


def plane(node: Nonlinear, number: int, enclosure: Enclosure, choice: Tensor | None = None) -> Planes:
    """The planes of one node, moved apart by its rounding and by that of their own arithmetic."""
    boxes = [enclosure.boxes[s] for s in node.sources]
    if choice is not None and node.rule.lines is not None:
        if number not in enclosure.tables:
            enclosure.tables[number] = node.rule.lines(boxes)
        planes = between(enclosure.tables[number], boxes, choice)
    else:
        planes = node.rule.planes(boxes, choice)
    if node.rule.switch is None:  # those with a switch have paid for it: their slopes are at most one
        planes = widened(planes, boxes)
    if node.rounding is None:
        return planes
    error = enclosure.rounding[number].unsqueeze(1)
    return planes._replace(low_offset=planes.low_offset - error, high_offset=planes.high_offset + error)


def backward(
    program: Program,
    planes: Mapping[int, Planes],
    rounding: Mapping[int, Tensor],
    slope: Tensor,
    offset: Tensor,
    node: int | None = None,
    splits: Splits | None = None,
    multipliers: Multipliers | None = None,
) -> Line:
    """A line under <slope, value of the node> + offset, for slope (B, S, *shape) and offset (B, S), all of one dtype.

    With `multipliers`, a line under that minus sum_j beta_j sign_j z_j of the split sources z_j, which is at most as large
    wherever the splits hold (Wang et al. 2021, arXiv:2103.06624, equation 6).
    """
    top = program.output if node is None else node
    return carried(program, planes, rounding, {top: slope}, offset, top, splits, multipliers)


def carried(
    program: Program,
    planes: Mapping[int, Planes],
    rounding: Mapping[int, Tensor],
    held: Mapping[int, Tensor],
    offset: Tensor,
    top: int,
    splits: Splits | None = None,
    multipliers: Multipliers | None = None,
) -> Line:
    """The same for a sum of functions of several nodes, none after `top`: slopes (B, S, *shape) by node."""
    held = dict(held)
    slope = next(iter(held.values()))
    for number in range(top, 0, -1):
        step = program.nodes[number]
        if splits and multipliers and number in multipliers:
            source = program.switches[number]
            push = -multipliers[number] * splits[number].unsqueeze(1).to(slope.dtype)
            push = push.expand(*slope.shape[:2], *step.shape)
            held[source] = held[source] + push if source in held else push
        if number not in held:
            continue
        found = held.pop(number)
        if isinstance(step, Affine):
            paid = _product(found.abs(), rounding[number])
            offset = offset - paid if step.offset is None else offset + _product(found, step.offset) - paid
            for source, turn in zip(step.sources, step.maps, strict=True):
                moved = turn.backward(found.flatten(0, 1)).unflatten(0, found.shape[:2])
                held[source] = held[source] + moved if source in held else moved
        elif isinstance(step, Nonlinear):
            up, down, lines = found.clamp_min(0), found.clamp_max(0), planes[number]
            offset = offset + (up * lines.low_offset + down * lines.high_offset).flatten(2).sum(2)
            for source, low, high in zip(step.sources, lines.low, lines.high, strict=True):
                moved = up * low + down * high
                held[source] = held[source] + moved if source in held else moved
    shape = program.nodes[0].shape
    return Line(held.get(0, slope.new_zeros(*slope.shape[:2], *shape)), offset)


def _product(slope: Tensor, value: Tensor) -> Tensor:
    """Sums (B, S) of (B, S, *shape) with (B, *shape) or (1, *shape)."""
    flat = value.to(slope.dtype).flatten(1)
    if len(flat) == 1:
        return torch.matmul(slope.flatten(2), flat[0])
    return torch.matmul(slope.flatten(2), flat.unsqueeze(2)).squeeze(2)
