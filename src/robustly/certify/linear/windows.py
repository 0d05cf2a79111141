"""Backward bounds of the numbers of convolutions: slopes are held in the windows that a number reads, while these are small.

Everything outside a window is zero, so the lines are those of the ordinary pass, for a fraction of its products.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from robustly.certify.linear.backward import carried
from robustly.certify.linear.program import Affine, Nonlinear, Program
from robustly.certify.linear.reading import Window, Windows
from robustly.certify.linear.region import Region
from robustly.certify.linear.rules import Planes


class Entries(NamedTuple):
    """Numbers of a target that are bounded together: the row (E,) of each, and its flat place in the target (E,)."""

    rows: Tensor
    numbers: Tensor

    @classmethod
    def of(cls, wanted: Tensor, channels: int) -> Entries:
        """Those of bool (B, n), neighbours in place side by side, since they read the same windows."""
        row, place, channel = wanted.unflatten(1, (channels, -1)).transpose(1, 2).nonzero().unbind(1)
        return cls(row, channel * (wanted.shape[1] // channels) + place)


def least(
    program: Program,
    region: Region,
    planes: Mapping[int, Planes],
    rounding: Mapping[int, Tensor],
    windows: Windows,
    target: int,
    entries: Entries,
) -> Tensor:
    """Lower bounds (E, 2) on numbers of a node and on their negatives."""
    shape = program.nodes[target].shape
    channel, place = entries.numbers // prod(shape[1:]), entries.numbers % prod(shape[1:])
    codes, whose = torch.unique_consecutive(entries.rows * prod(shape[1:]) + place, return_inverse=True)
    views = {
        number: _View.at(window, program.nodes[number].shape, shape[1:], codes, whose)
        for number, window in windows.at.items()
    }
    one_hot = F.one_hot(channel, shape[0]).to(region.low.dtype)
    held = {target: torch.stack((one_hot, -one_hot), 1).unflatten(2, (shape[0], *(1,) * (len(shape) - 1)))}
    offset = one_hot.new_zeros(len(channel), 2)
    for number in range(target, windows.end, -1):
        if number not in held:
            continue
        found, step, view = held.pop(number), program.nodes[number], views[number]
        flat = found.flatten(2)
        moved: list[Tensor] = []
        if isinstance(step, Affine):
            offset = offset - _product(flat.abs(), view.of(rounding[number]))
            if step.offset is not None:
                offset = offset + _product(flat, view.of(step.offset))
            for source, turn in zip(step.sources, step.maps, strict=True):
                assert turn.local is not None
                turned = turn.local.backward(found.flatten(0, 1)).unflatten(0, found.shape[:2])
                own = turn.local.before(windows.at[number])
                moved.append(views[source].masked(_grown(turned, own, windows.at[source])))
        elif isinstance(step, Nonlinear):
            up, down, lines = flat.clamp_min(0), flat.clamp_max(0), planes[number]
            offset = offset + _product(up, view.of(lines.low_offset)) + _product(down, view.of(lines.high_offset))
            for source, low, high in zip(step.sources, lines.low, lines.high, strict=True):
                turned = up * view.of(low).unsqueeze(1) + down * view.of(high).unsqueeze(1)
                moved.append(_grown(turned.view_as(found), windows.at[number], windows.at[source]))
        for source, one in zip(step.sources, moved, strict=True):
            held[source] = held[source] + one if source in held else one
    if windows.end == 0 and not region.balls:
        if 0 not in held:
            return offset
        seen = Region(views[0].of(region.low), views[0].of(region.high))
        return seen.least(held[0].flatten(2)) + offset
    whole = {number: views[number].spread(slope) for number, slope in held.items()}
    return _continued(program, region, planes, rounding, windows.end, entries.rows, whole, offset)


def _continued(
    program: Program,
    region: Region,
    planes: Mapping[int, Planes],
    rounding: Mapping[int, Tensor],
    top: int,
    rows: Tensor,
    held: dict[int, Tensor],
    offset: Tensor,
) -> Tensor:
    """The rest of the pass from node `top` on, for slopes (E, 2, *shape)."""
    shape = offset.shape
    if bool((rows == rows[0]).all()):  # one row's planes serve all
        rows, offset = rows[:1], offset.flatten()[None]
        held = {number: slope.flatten(0, 1)[None] for number, slope in held.items()}
    wanted = frozenset().union(*(program.ancestors[number] for number in held))
    near = {number: planes[number].take(rows) for number in wanted if isinstance(program.nodes[number], Nonlinear)}
    paid = {number: rounding[number][rows] for number in wanted if number in rounding}
    line = carried(program, near, paid, held, offset, top)
    return line.least(region.take(rows)).view(shape)


class _View(NamedTuple):
    """Where windows of a node lie: flat places (U, m), whether they are inside of it (U, m), the row (U,) of each.

    whose: (E,), which window each entry reads. shape: of the node. sides: of a window. whole: all are inside.
    """

    places: Tensor
    inside: Tensor
    row: Tensor
    whose: Tensor
    shape: tuple[int, ...]
    sides: tuple[int, ...]
    whole: bool

    @classmethod
    def at(cls, window: Window, shape: tuple[int, ...], grid: tuple[int, ...], codes: Tensor, whose: Tensor) -> _View:
        """Of the places `codes` (row, then place on the target's grid)."""
        count = len(codes)
        row, left = codes // prod(grid), codes % prod(grid)
        index = torch.zeros(count, 1, dtype=torch.int64, device=codes.device)
        inside = torch.ones(count, 1, dtype=torch.bool, device=codes.device)
        for axis, (stride, first, side) in enumerate(zip(*window, strict=True)):
            length, below = shape[1 + axis], prod(grid[axis + 1 :])
            at = (left // below % grid[axis] * stride + first)[:, None] + torch.arange(side, device=codes.device)
            there = (at >= 0) & (at < length)
            index = (index.unsqueeze(2) * length + at.clamp(0, length - 1).unsqueeze(1)).flatten(1)
            inside = (inside.unsqueeze(2) & there.unsqueeze(1)).flatten(1)
        return cls(index, inside, row, whose, shape, window.sides, bool(inside.all()))

    def of(self, value: Tensor) -> Tensor:
        """Windows (E, C m) of a tensor (B or 1, *shape) or (B or 1, 1, *shape); zero outside of it."""
        flat = value.reshape(len(value), self.shape[0], -1).transpose(1, 2)
        row = self.row if len(value) > 1 else torch.zeros_like(self.row)
        found = flat[row[:, None], self.places]
        if not self.whole:
            found = torch.where(self.inside.unsqueeze(2), found, 0)
        return found.transpose(1, 2).flatten(1)[self.whose]

    def masked(self, slope: Tensor) -> Tensor:
        """Slopes (E, 2, C, *sides) without what lies outside of the node."""
        if self.whole:
            return slope
        inside = self.inside.to(slope.dtype)[self.whose]
        return slope * inside.unflatten(1, self.sides)[:, None, None]

    def spread(self, slope: Tensor) -> Tensor:
        """Slopes (E, 2, C, *sides) as (E, 2, *shape)."""
        places = prod(self.shape[1:])
        index = torch.where(self.inside, self.places, places)[self.whose]  # what is outside goes to a place of its own
        flat = slope.flatten(3)
        whole = flat.new_zeros(*flat.shape[:3], places + 1)
        whole = whole.scatter(3, index[:, None, None].expand_as(flat), flat)
        return whole[..., :places].unflatten(3, self.shape[1:])


def _product(slope: Tensor, value: Tensor) -> Tensor:
    """Sums (E, 2) of (E, 2, n) with (E, n)."""
    return torch.matmul(slope, value.to(slope.dtype).unsqueeze(2)).squeeze(2)


def _grown(slope: Tensor, own: Window, wanted: Window) -> Tensor:
    """Slopes in a window as slopes in one that holds it."""
    if own.sides == wanted.sides:
        return slope
    before = [a - b for a, b in zip(own.first, wanted.first, strict=True)]
    after = [w - b - s for w, b, s in zip(wanted.sides, before, own.sides, strict=True)]
    return F.pad(slope, [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair])
