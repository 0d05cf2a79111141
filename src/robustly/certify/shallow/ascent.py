"""The linear relaxation of many sub-problems at once, by the primal-dual hybrid gradient method.

Under a row <c, relu(z)> + <a, x> + d with z = W x + b lies, for every v within limits that the range and the sign of each z set,
<v, z> + <a, x> + const: a ReLU of weight above zero is the maximum of such lines, one below zero is at least its chord, and a sign
that is held may be charged for (the slopes of alpha-CROWN and the multipliers of beta-CROWN are what v is made of). The best v is
one side of the saddle max_v min_x, which Chambolle and Pock 2011 (doi:10.1007/s10851-010-0251-1) solve by steps on both sides;
step sizes for each coordinate are those of Pock and Chambolle 2011 (doi:10.1109/ICCV.2011.6126441). The other side, a point of
least relaxed value, says where to split and where to look for a counterexample. Nothing here has to be exact.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Sides(NamedTuple):
    """Matrices in the dtype of the search: W (m, n), b (m,)."""

    matrix: Tensor
    offset: Tensor


class Saddle(NamedTuple):
    """N sub-problems of R rows. low, high (N, n): boxes. least, most (N, R, m): limits of v. slope (N, R, n), constant (N, R): the
    rest of the rows. scale (N, R, 1): the size of v for an x of the size of the box."""

    low: Tensor
    high: Tensor
    least: Tensor
    most: Tensor
    slope: Tensor
    constant: Tensor
    scale: Tensor

    def take(self, index: Tensor) -> Saddle:
        """Some of them."""
        return Saddle(*(t[index] for t in self))


class Climbed(NamedTuple):
    """v (N, R, m), x (N, R, n), and the value (N, R) at v: the relaxed row is nowhere in the box below it."""

    v: Tensor
    x: Tensor
    value: Tensor

    def take(self, index: Tensor) -> Climbed:
        """Some of them."""
        return Climbed(*(t[index] for t in self))


def saddle(
    ranges: tuple[Tensor, Tensor],
    signs: Tensor,
    box: tuple[Tensor, Tensor],
    rows: tuple[Tensor, Tensor, Tensor],
) -> Saddle:
    """The limits of v from ranges (N, m) and signs (N, m) of every z; rows: c (N, R, m), a (N, R, n), d (N, R)."""
    low, high, sign = (t.unsqueeze(1) for t in (*ranges, signs))
    weights, slope, constant = rows
    on, off = (low >= 0) & (sign >= 0), (high <= 0) | (sign < 0)
    bent = ~on & ~off & (weights < 0)
    chord = torch.where(bent, weights * high / (high - low), 0)
    least = torch.where(on, torch.where(sign > 0, -torch.inf, weights), chord)
    most = torch.where(on | (~off & ~bent), weights, torch.where(off & (sign < 0), torch.inf, chord))
    constant = constant - (chord * torch.where(bent, low, 0)).sum(2)
    scale = weights.abs().mean(2, keepdim=True).clamp_min(1e-30)
    return Saddle(*box, least, most, slope, constant, scale)


def climb(sides: Sides, task: Saddle, start: Climbed, steps: int, rounds: int, patient: bool = False) -> Climbed:
    """Up to `rounds` rounds of `steps` steps, each from the better of the last point and the mean of the round before.

    A sub-problem ends early where a row's value is above zero, and, unless `patient`, where it looks as if no row's can be: where
    all are at most zero at their x, which need not have the signs that are held.
    """
    found = Climbed(_between(start.v, task.least, task.most), _inside(start.x, task), start.value)
    value = torch.full_like(start.value, -torch.inf)
    found = found._replace(value=value)
    index = torch.arange(len(value))
    for _ in range(rounds):
        some = task.take(index)
        now, highest = _round(sides, some, found.take(index), steps)
        better = now.value >= found.value[index]
        kept = torch.where(better.unsqueeze(2), now.v, found.v[index])
        found.v[index], found.x[index] = kept, now.x
        found.value[index] = torch.maximum(now.value, found.value[index])
        index = index[(found.value[index] <= 0).all(1) & ((highest > 0).any(1) | patient)]
        if not len(index):
            break
    return found


def _round(sides: Sides, task: Saddle, start: Climbed, steps: int) -> tuple[Climbed, Tensor]:
    """The better of the last and the mean, and the relaxed rows' values (N, R) at its x."""
    matrix, offset = sides
    radius = ((task.high - task.low) / 2).unsqueeze(1)
    across, along = matrix.abs().sum(0), radius @ matrix.abs().T
    down = radius / across.clamp_min(1e-30) / task.scale
    up = task.scale / along.clamp_min(1e-30)
    v, x = start.v, start.x
    sums, places = torch.zeros_like(v), torch.zeros_like(x)
    for _ in range(steps):
        moved = _inside(x - down * (v @ matrix + task.slope), task)
        v = _between(v + up * ((2 * moved - x) @ matrix.T + offset), task.least, task.most)
        x = moved
        sums, places = sums + v, places + x
    mean, place = sums / steps, places / steps
    one, two = _value(sides, task, v), _value(sides, task, mean)
    better = (two > one).unsqueeze(2)
    v, x = torch.where(better, mean, v), torch.where(better, place, x)
    z = x @ matrix.T + offset
    ends = torch.where(z > 0, task.most, task.least)
    highest = (z * torch.where(torch.isfinite(ends), ends, 0)).sum(2) + (x * task.slope).sum(2) + task.constant
    return Climbed(v, x, torch.maximum(one, two)), highest


def _value(sides: Sides, task: Saddle, v: Tensor) -> Tensor:
    slope = v @ sides.matrix + task.slope
    least = torch.minimum(slope * task.low.unsqueeze(1), slope * task.high.unsqueeze(1)).sum(2)
    return least + v @ sides.offset + task.constant


def _inside(x: Tensor, task: Saddle) -> Tensor:
    return _between(x, task.low.unsqueeze(1), task.high.unsqueeze(1))


def _between(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(x, low), high)
