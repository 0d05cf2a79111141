"""Ranges of intermediate values by backward bounds, for those that interval arithmetic leaves undecided."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, prod
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.certify.linear.backward import Slopes, backward, plane
from robustly.certify.linear.enclosure import Enclosure, Splits, enclose, meet
from robustly.certify.linear.program import Nonlinear, Program
from robustly.certify.linear.reading import Windows
from robustly.certify.linear.region import Region
from robustly.certify.linear.rules import Box, Planes
from robustly.certify.linear.windows import Entries, least

ROOM = 2**18
"""Most numbers of one coefficient tensor in a backward pass, so that a pass stays in the caches; more are cut into several."""


Inner = Mapping[int, Slopes]
"""For a node whose range is sought, the choice of planes on the way: (B, 2, N, *shape), for lower and upper bounds, N its
numbers or 1 for all alike."""


def crown(
    program: Program,
    region: Region,
    known: Enclosure | None = None,
    splits: Splits | None = None,
    inner: Inner | None = None,
    skip: frozenset[int] = frozenset(),
    limit: float = inf,
) -> Enclosure:
    """Ranges by CROWN wherever a plane depends on them, in the dtype of the region.

    known: ranges that hold already, say of a larger region. splits: signs that hold as well. inner: slopes other than
    CROWN's own. skip: nodes that are left at what interval arithmetic and `known` say. limit: the most
    operations for one row (`Program.work`); a node that would exceed it is left as well.
    """
    planes: dict[int, Planes] = {}
    spent = region.low.new_zeros(len(region))

    def narrow(number: int, box: Box, sofar: Enclosure) -> Box:
        box = cut(program, number, box, splits)
        if number in skip or (number in program.exact and not region.balls):
            return box
        wanted = _wanted(program, number, box, sofar)
        if wanted is None:
            return box
        cost = 2 * program.work[number] * wanted.sum(1)
        wanted = wanted & (spent + cost <= limit)[:, None]
        spent.add_(torch.where(spent + cost <= limit, cost, 0))
        if not wanted.any():
            return box
        for one in program.ancestors[number]:
            node = program.nodes[one]
            if isinstance(node, Nonlinear) and one not in planes:
                planes[one] = plane(node, one, sofar)
        target = Target(number, wanted, {} if inner is None else inner.get(number, {}))
        found = _narrowed(program, region, sofar, planes, target, box)
        return cut(program, number, meet(box, found), splits)

    return enclose(program, region, narrow, known)


def effort(program: Program, region: Region, limit: float = inf) -> Tensor:
    """Operations (B,) that `crown` takes at most, from how much interval arithmetic leaves undecided."""
    ranges, total = enclose(program, region), region.low.new_zeros(len(region))
    for number, box in ranges.boxes.items():
        wanted = None if number in program.exact and not region.balls else _wanted(program, number, box, ranges)
        if wanted is not None:
            cost = 2 * program.work[number] * wanted.sum(1)
            total = total + torch.where(total + cost <= limit, cost, 0)
    return total


def cut(program: Program, number: int, box: Box, splits: Splits | None) -> Box:
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


class Target(NamedTuple):
    """A node whose range is sought: its number, bool (B, n) which of its numbers, and the slopes for it."""

    number: int
    wanted: Tensor
    slopes: Slopes


def _narrowed(
    program: Program, region: Region, sofar: Enclosure, planes: Mapping[int, Planes], target: Target, box: Box
) -> Box:
    """Backward bounds of what is wanted, from both sides; the box elsewhere."""
    near = program.windows(target.number)
    if near is not None and not target.slopes:
        return _by_windows(program, region, sofar, planes, target, box, near)
    widest = max(prod(program.nodes[i].shape) for i in program.ancestors[target.number])
    rows = len(target.wanted)
    several = max(1, min(rows, ROOM // (2 * widest)))
    parts = []
    for some in torch.arange(rows, device=target.wanted.device).split(several):
        around = (region.take(some), sofar.take(some), {k: p.take(some) for k, p in planes.items()})
        own = Target(target.number, target.wanted[some], {k: v[some] for k, v in target.slopes.items()})
        at_once = max(1, ROOM // (2 * widest * len(some)))
        parts.append(_of_rows(program, *around, own, box.take(some), at_once))
    return Box(torch.cat([b.low for b in parts]), torch.cat([b.high for b in parts]))


def _by_windows(
    program: Program,
    region: Region,
    sofar: Enclosure,
    planes: Mapping[int, Planes],
    target: Target,
    box: Box,
    windows: Windows,
) -> Box:
    """The same for numbers that read windows of the nodes before them."""
    node = program.nodes[target.number]
    widest = max(program.numbers(number, window) for number, window in windows.at.items())
    if windows.end:
        widest = max(widest, *(prod(program.nodes[i].shape) for i in program.ancestors[windows.end]))
    every = Entries.of(target.wanted, node.shape[0])
    parts = []
    for rows, numbers in zip(*(part.split(max(1, ROOM // (2 * widest))) for part in every), strict=True):
        some = Entries(rows, numbers)
        parts.append(least(program, region, planes, sofar.rounding, windows, target.number, some))
    found = torch.cat(parts)
    low = box.low.flatten(1).index_put((every.rows, every.numbers), found[:, 0])
    high = box.high.flatten(1).index_put((every.rows, every.numbers), -found[:, 1])
    return Box(low.view_as(box.low), high.view_as(box.high))


def _of_rows(
    program: Program,
    region: Region,
    sofar: Enclosure,
    planes: Mapping[int, Planes],
    target: Target,
    box: Box,
    at_once: int,
) -> Box:
    """The same for rows that are done together, `at_once` numbers of each at a time."""
    low, high = box.low.flatten(1), box.high.flatten(1)
    most = int(target.wanted.sum(1).amax())
    order = target.wanted.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
    for index in order.split(at_once, 1):
        unit = low.new_zeros(*index.shape, low.shape[1]).scatter_(2, index.unsqueeze(2), 1.0)
        slope = torch.cat((unit, -unit), 1).unflatten(2, program.nodes[target.number].shape)
        chosen = dict(planes)
        for number, choice in target.slopes.items():
            node = program.nodes[number]
            assert isinstance(node, Nonlinear)
            chosen[number] = plane(node, number, sofar, _of_these(choice, index))
        line = backward(program, chosen, sofar.rounding, slope, slope.new_zeros(slope.shape[:2]), target.number)
        below, above = line.least(region).chunk(2, 1)
        real = target.wanted.gather(1, index)  # the rest fills up rows with fewer of them
        low = low.scatter(1, index, torch.where(real, below, low.gather(1, index)))
        high = high.scatter(1, index, torch.where(real, -above, high.gather(1, index)))
    return Box(low.view_as(box.low), high.view_as(box.high))


def _of_these(choice: Tensor, index: Tensor) -> Tensor:
    """The slopes (b, 2 k, *shape) of numbers `index` (b, k), first for their lower bounds, then for the upper ones."""
    if choice.shape[2] == 1:
        some = choice.expand(-1, -1, index.shape[1], *choice.shape[3:])
    else:
        row = torch.arange(len(index), device=index.device)[:, None]
        some = torch.stack((choice[:, 0][row, index], choice[:, 1][row, index]), 1)
    return some.flatten(1, 2)
