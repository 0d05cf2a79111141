"""Forward mode: linear functions of the input under and over every value, carried along with the network.

Costs one pass a number of the input, whatever the count of hidden values, so it pays for few inputs (Xu et al. 2020,
arXiv:2002.12920, section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.certify.linear.backward import plane
from robustly.certify.linear.crown import cut
from robustly.certify.linear.enclosure import Enclosure, Splits, enclose, meet
from robustly.certify.linear.program import Affine, Input, Nonlinear, Program
from robustly.certify.linear.region import Region
from robustly.certify.linear.rules import FINE, Box, added


class Lines(NamedTuple):
    """<low, x> + low_offset <= value <= <high, x> + high_offset; slopes (B, I, *shape) for I inputs, offsets (B, *shape).

    size: (B, *shape), the magnitudes that were added up so far, of which float64 may lose a share.
    """

    low: Tensor
    low_offset: Tensor
    high: Tensor
    high_offset: Tensor
    size: Tensor


def forward(
    program: Program, region: Region, known: Enclosure | None = None, splits: Splits | None = None
) -> Enclosure:
    """Ranges by forward lines, met with those by interval arithmetic and with `known`."""
    lines: dict[int, Lines] = {}
    inputs = region.box.size.flatten(1)

    def narrow(number: int, box: Box, sofar: Enclosure) -> Box:
        for one in sorted(program.ancestors[number] - lines.keys()):
            lines[one] = _carried(program, one, lines, region, sofar, inputs)
        found = lines[number]
        low = _least(region, found.low) + found.low_offset
        high = -_least(region, -found.high) + found.high_offset
        return cut(program, number, meet(cut(program, number, box, splits), Box(low, high)), splits)

    return enclose(program, region, narrow, known)


def _carried(
    program: Program, number: int, lines: dict[int, Lines], region: Region, sofar: Enclosure, inputs: Tensor
) -> Lines:
    node = program.nodes[number]
    if isinstance(node, Input):
        count = inputs.shape[1]
        eye = torch.eye(count, dtype=region.low.dtype, device=region.low.device)
        slope = eye.reshape(1, count, *node.shape).expand(len(region), -1, *(-1 for _ in node.shape))
        none = torch.zeros_like(region.low)
        return Lines(slope, none, slope, none, region.box.size)
    sources = [lines[s] for s in node.sources]
    if isinstance(node, Affine):
        low, low_offset, high, high_offset, size = _affine(node, sources)
    else:
        low, low_offset, high, high_offset, size = _nonlinear(node, number, sources, sofar)
    paid = FINE * size
    if isinstance(node, Affine):
        paid = paid + sofar.rounding[number]
    widths = inputs.reshape(*inputs.shape, *(1,) * len(node.shape))
    grown = torch.maximum(
        (low.abs() * widths).sum(1) + low_offset.abs(), (high.abs() * widths).sum(1) + high_offset.abs()
    )
    return Lines(low, low_offset - paid, high, high_offset + paid, grown)


def _affine(node: Affine, sources: list[Lines]) -> Lines:
    """Through A: half of A (low + high) +- |A| (low - high), which takes the low line where A > 0 and the high one else."""
    parts = []
    for step, source in zip(node.maps, sources, strict=True):
        both, apart = (_each(f, source.low + g * source.high) for f, g in ((step.forward, 1), (step.size, -1)))
        middle = step.forward(source.low_offset + source.high_offset)
        spread = step.size(source.low_offset - source.high_offset)
        halves = ((both + apart) / 2, (middle + spread) / 2, (both - apart) / 2, (middle - spread) / 2)
        parts.append((*halves, step.size(source.size)))
    low, low_offset, high, high_offset, size = (added(p) for p in zip(*parts, strict=True))
    if node.offset is not None:
        low_offset, high_offset, size = low_offset + node.offset, high_offset + node.offset, size + node.offset.abs()
    return Lines(low, low_offset, high, high_offset, size)


def _nonlinear(node: Nonlinear, number: int, sources: list[Lines], sofar: Enclosure) -> Lines:
    planes = plane(node, number, sofar)
    low_offset, high_offset = planes.low_offset.squeeze(1), planes.high_offset.squeeze(1)
    low: Tensor | float = 0.0
    high: Tensor | float = 0.0
    size = low_offset.abs() + high_offset.abs()
    for source, below, above in zip(sources, planes.low, planes.high, strict=True):
        low = low + torch.where(below > 0, source.low, source.high) * below
        high = high + torch.where(above > 0, source.high, source.low) * above
        b, a = below.squeeze(1), above.squeeze(1)
        low_offset = low_offset + torch.where(b > 0, source.low_offset, source.high_offset) * b
        high_offset = high_offset + torch.where(a > 0, source.high_offset, source.low_offset) * a
        size = size + torch.maximum(b.abs(), a.abs()) * source.size
    assert isinstance(low, Tensor)
    assert isinstance(high, Tensor)
    return Lines(low, low_offset, high, high_offset, size)


def _each(f: Callable[[Tensor], Tensor], slope: Tensor) -> Tensor:
    return f(slope.flatten(0, 1)).unflatten(0, slope.shape[:2])


def _least(region: Region, slope: Tensor) -> Tensor:
    """Least values (B, *shape) of linear functions (B, I, *shape)."""
    rows = slope.flatten(2).transpose(1, 2).unflatten(2, region.low.shape[1:])
    return region.least(rows).unflatten(1, slope.shape[2:])
