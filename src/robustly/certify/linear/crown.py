"""Ranges of intermediate values by backward bounds, for those that interval arithmetic leaves undecided."""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.certify.linear.backward import Slopes, backward, plane
from robustly.certify.linear.enclosure import Enclosure, Splits, enclose, meet
from robustly.certify.linear.program import Nonlinear, Program
from robustly.certify.linear.region import Region
from robustly.certify.linear.rules import Box, Planes

ROOM = 2**22
"""Most numbers of one coefficient tensor in a backward pass (32 MiB in float64); more are cut into several passes."""


def crown(
    program: Program,
    region: Region,
    known: Enclosure | None = None,
    splits: Splits | None = None,
    slopes: Slopes | None = None,
    skip: frozenset[int] = frozenset(),
) -> Enclosure:
    """Ranges by CROWN wherever a plane depends on them, float64.

    known: ranges that hold already, say of a larger region. splits: signs that hold as well. slopes: a choice of planes,
    (B, 1, *shape). skip: nodes that are left at what interval arithmetic and `known` say.
    """
    planes: dict[int, Planes] = {}

    def narrow(number: int, box: Box, sofar: Enclosure) -> Box:
        box = _cut(program, number, box, splits)
        if number in skip or (number in program.exact and not region.balls):
            return box
        wanted = _wanted(program, number, box, sofar)
        if wanted is None or not wanted.any():
            return box
        for one in program.ancestors[number]:
            node = program.nodes[one]
            if isinstance(node, Nonlinear) and one not in planes:
                planes[one] = plane(node, one, sofar, None if slopes is None else slopes.get(one))
        found = _narrowed(program, region, planes, sofar.rounding, number, box, wanted)
        return _cut(program, number, meet(box, found), splits)

    return enclose(program, region, narrow, known)


def _cut(program: Program, number: int, box: Box, splits: Splits | None) -> Box:
    """The range on one side of the kinks that are split."""
    low, high = box
    for node, sign in (splits or {}).items():
        if program.switches[node] == number:
            low = torch.where(sign > 0, low.clamp_min(0), low)
            high = torch.where(sign < 0, high.clamp_max(0), high)
    return Box(low, high)


def _wanted(program: Program, number: int, box: Box, sofar: Enclosure) -> Tensor | None:
    """Which elements of a node some plane would gain from, (B, n)."""
    found: Tensor | None = None
    for node in program.nodes:
        if isinstance(node, Nonlinear) and number in node.sources:
            boxes = [box if s == number else sofar.boxes.get(s, box) for s in node.sources]
            for source, loose in zip(node.sources, node.rule.loose(boxes), strict=True):
                if source == number and loose is not None:
                    found = loose.flatten(1) if found is None else found | loose.flatten(1)
    return found


def _narrowed(
    program: Program,
    region: Region,
    planes: dict[int, Planes],
    rounding: dict[int, Tensor],
    number: int,
    box: Box,
    wanted: Tensor,
) -> Box:
    """Backward bounds of the wanted elements, from both sides; the box elsewhere."""
    low, high = box.low.flatten(1).clone(), box.high.flatten(1).clone()
    widest = max(int(torch.tensor(program.nodes[i].shape).prod()) for i in program.ancestors[number])
    rows, count = wanted.shape
    several = max(1, min(rows, ROOM // (2 * widest)))
    for begun in range(0, rows, several):
        some = torch.arange(begun, min(begun + several, rows), device=wanted.device)
        mask = wanted[some]
        most = int(mask.sum(1).amax())
        order = mask.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
        part, around = {k: p.take(some) for k, p in planes.items()}, region.take(some)
        paid = {k: r[some] for k, r in rounding.items()}
        for first in range(0, most, step := max(1, ROOM // (2 * widest * len(some)))):
            index = order[:, first : first + step]
            unit = low.new_zeros(len(some), index.shape[1], count).scatter_(2, index.unsqueeze(2), 1.0)
            slope = torch.cat((unit, -unit), 1).unflatten(2, program.nodes[number].shape)
            line = backward(program, part, paid, slope, slope.new_zeros(slope.shape[:2]), number)
            below, above = line.least(around).chunk(2, 1)
            chosen = mask.gather(1, index)
            rest = (low[some].gather(1, index), high[some].gather(1, index))
            low[some[:, None], index] = torch.where(chosen, below, rest[0])
            high[some[:, None], index] = torch.where(chosen, -above, rest[1])
    return Box(low.view_as(box.low), high.view_as(box.high))
