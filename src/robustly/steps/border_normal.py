"""Which way a decision border faces, learnt from labels alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from robustly.core.keys import bits, fold, uniform
from robustly.core.rows import column
from robustly.steps.radii import unit
from robustly.steps.types import Case
from robustly.steps.widths import Room

Draw = Callable[[Tensor, tuple[int, ...]], Tensor]

AT_ONCE = 2**20  # numbers of an example's noise that are held at a time


def bell(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Noise (B, *shape) of mean 0 and nearly normal: the sum of four bytes, several times as fast as `keys.normal`."""
    words = bits(key, math.prod(shape))
    pairs = (words & 0x00FF00FF) + ((words >> 8) & 0x00FF00FF)
    return ((pairs & 0xFFFF) + (pairs >> 16) - 510).to(torch.float32).reshape(len(key), *shape)


def even(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Noise (B, *shape) uniform between -1 and 1."""
    return 2 * uniform(key, shape) - 1


def border_normal(case: Case, space: Room, z: Tensor, far: Tensor, counts: Tensor, draw: Draw = bell) -> Tensor:
    """A Monte Carlo estimate of the border's normal at z (B, ...), towards the points that meet the goal; of length 1.

    Random directions of length 1 are asked `far` away from z; those that meet the goal count +1, the others -1, less
    the mean where not all agree (Chen et al. 2020, arXiv:1904.02144, eq. 9 and 16). Where a bound cuts a direction
    short, what is left of it counts, and the directions lie within the mask. Zero where nothing could be learnt.

    Args:
        case: the rows, and the key the noise is drawn by.
        space: their bounds.
        z: points on the border.
        far: (B,), in units of the input.
        counts: int64 (B,), how many directions each row asks.
        draw: the noise that is brought to length 1.
    """
    shape = z.shape[1:]
    chunk = max(1, min(64, AT_ONCE // shape.numel()))
    free = (space.high > space.low).to(z.dtype)[:, None]
    reach = far.reshape(-1, *(1,) * z.dim())
    low, high = space.low[:, None], space.high[:, None]
    toward, whole = torch.zeros_like(z), torch.zeros_like(z)
    said, number = z.new_zeros(len(z)), torch.zeros_like(counts)
    for first in range(0, int(counts.max()) if len(counts) else 0, chunk):
        noise = draw(fold(case.key, first), (chunk, *shape)) * free
        way = unit(noise.flatten(0, 1)).view_as(noise)
        point = torch.minimum(torch.maximum(z[:, None] + reach * way, low), high)
        due = first + torch.arange(chunk, device=z.device) < counts[:, None]
        place = due.flatten().nonzero().squeeze(1)
        met, asked = case.oracle.hits(point.flatten(0, 1)[place], place // chunk)
        sign = torch.where(met, 1.0, -1.0).to(z.dtype) * asked
        signs = z.new_zeros(due.numel()).index_copy(0, place, sign).view_as(due)
        count = torch.zeros_like(due).flatten().index_copy(0, place, asked).view_as(due)
        went = (point - z[:, None]) / reach.clamp_min(torch.finfo(z.dtype).tiny)
        wide = (len(z), chunk, *(1,) * len(shape))
        toward = toward + (signs.view(wide) * went).sum(1)
        whole = whole + (count.to(z.dtype).view(wide) * went).sum(1)
        said, number = said + signs.sum(1), number + count.sum(1)
    mean = said / number.clamp_min(1)
    mean = torch.where(mean.abs() < 1, mean, 0)
    return unit(toward - column(mean, z) * whole)
