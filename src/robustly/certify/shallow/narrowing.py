"""Narrower ranges where a linear function is at most zero.

The least of <w, x> + b over a box where <a, x> + o <= 0 is at least that of <w, x> + b + t (<a, x> + o) over the box, for every
t >= 0. Zhou et al. 2025 (arXiv:2512.11087) narrow the ranges of hidden values in this way, with the bound of the output as the
function: what lies above zero has no counterexample.

Over a box, that is its value in the middle less what |w + t a| makes of the half sides. Those sums are most of the work, so they
are added up in float32, and widened by what that may lose: less than (n + 8) 2^-23 of the sums of the parts' absolute values, for
n terms in any order, with the roundings of w, a, t a and the sides. No product of matrices is left to float32, for torch may be
set to make those in less.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.certify.linear.region import Region
from robustly.certify.linear.rules import FINE, Box

TINY = 1e-30
"""More than float32 loses of sums of numbers that are too small for it."""

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
    """Lower bounds (N, k) of the values of lines (k, n), (k,)."""
    middle, reach = (region.low + region.high) / 2, (region.high - region.low) / 2
    far = torch.maximum(region.low.abs(), region.high.abs())
    size = matrix.abs()
    value, other = middle @ matrix.T + start, (slope * middle).sum(1) + offset
    spare, spare_other = FINE * (far @ size.T + start.abs()), FINE * ((slope.abs() * far).sum(1) + offset.abs())
    mine, theirs = reach @ size.T, (slope.abs() * reach).sum(1)
    share = (matrix.shape[1] + 8) * 2.0**-23
    sides, along = reach.float().unsqueeze(1) * matrix.float(), (reach * slope).float().unsqueeze(1)
    found = value - mine - 2 * spare
    for part in TRIED:
        t = (part * mine / theirs[:, None]).float()
        t = torch.where(torch.isfinite(t), t, 0)
        total = torch.addcmul(sides, along, t.unsqueeze(2)).abs_().sum(2).double()
        t = t.double()
        lost = share * (mine + t * theirs[:, None]) + 2 * (spare + t * spare_other[:, None]) + TINY
        found = torch.fmax(found, value + t * other[:, None] - total - lost)
    return found
