"""Narrower ranges where a linear function is at most zero.

The least of <w, x> + b over a box where <a, x> + o <= 0 is at least that of <w, x> + b + t (<a, x> + o) over the box, for every
t >= 0. Zhou et al. 2025 (arXiv:2512.11087) narrow the ranges of hidden values in this way, with the bound of the output as the
function: what lies above zero has no counterexample.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.certify.linear.region import Region
from robustly.certify.linear.rules import FINE, Box

TRIED = (0.4, 1.0, 2.5)
"""Values of t, where 1 makes both functions move alike over the box."""


def narrowed(
    region: Region, under: tuple[Tensor, Tensor], over: tuple[Tensor, Tensor], slope: Tensor, offset: Tensor
) -> Box:
    """Ranges (N, k), float64, of values between lines ((k, n), (k,)) in N boxes, wherever <slope, x> + offset <= 0, (N, n), (N,).

    They may be empty: then no such point is in the box.
    """
    return Box(_least(region, *under, slope, offset), -_least(region, -over[0], -over[1], slope, offset))


def _least(region: Region, matrix: Tensor, start: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    reach = (region.high - region.low) / 2
    mine, other = reach @ matrix.abs().T, (slope.abs() * reach).sum(1, keepdim=True)
    found = region.least(matrix.expand(len(region), -1, -1)) + start - FINE * start.abs()
    for share in TRIED:
        t = share * mine / other
        t = torch.where(torch.isfinite(t), t, 0)
        moved = t * offset[:, None]
        least = region.least(matrix + t.unsqueeze(2) * slope.unsqueeze(1))
        found = torch.fmax(found, least + start + moved - FINE * (start.abs() + moved.abs()))
    return found
