"""How far a set reaches from its centre in a norm: what a certified radius must exceed."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from robustly.certify.enclosures.entry import enter
from robustly.threats.base import PerturbationSet

ROUNDING = 1 + 1e-12


def reach(around: PerturbationSet, norm: Literal["l1", "l2"]) -> Tensor | None:
    """Float64 (B,): no member, the slack of membership included, is farther from x in that norm; None for discrete sets.

    The least that follows from the set's box and from the norm balls it lies in, of any norm.
    """
    value = enter(around)
    if value is None:
        return None
    x = around.x.double()
    corner = (value.upper - x).maximum(x - value.lower).flatten(1)
    out = _size(corner, norm)
    for ball in value.images:
        if ball.norm == "l0":
            largest = corner.sort(dim=1, descending=True).values
            rank = torch.arange(corner.shape[1], device=x.device)
            bound = _size(torch.where(rank < ball.eps.floor()[:, None], largest, 0), norm)
        elif ball.norm == "l2" and norm == "l1":
            bound = ball.eps * math.sqrt(corner.shape[1])
        else:  # an l1 ball lies in the l2 ball of its radius
            bound = ball.eps
        out = out.minimum(bound)
    near = (out * ROUNDING).float()  # rounded up, without the last bits of float64, which depend on the batch size
    return torch.nextafter(near, torch.full_like(near, torch.inf)).double()


def _size(d: Tensor, norm: Literal["l1", "l2"]) -> Tensor:
    return d.norm(dim=1) if norm == "l2" else d.sum(1)
