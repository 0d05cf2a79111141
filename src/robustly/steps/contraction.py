"""The way home: shorter versions of a change, in the manner of each norm, and the shortest that still meets the goal."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robustly.core.rows import column
from robustly.steps.proximal import soft
from robustly.steps.types import Case
from robustly.steps.walk import still_open
from robustly.steps.widths import Room
from robustly.threats.base import PerturbationSet
from robustly.threats.l0 import L0Ball
from robustly.threats.l1 import L1Ball
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall


def lower(change: Tensor, share: Tensor) -> Tensor:
    """linf: cut off at that share of its height."""
    top = column(share * change.abs().flatten(1).amax(1), change)
    return change.clamp(-top, top)


def scaled(change: Tensor, share: Tensor) -> Tensor:
    """l2: that share of it."""
    return column(share, change) * change


def thinner(change: Tensor, share: Tensor) -> Tensor:
    """l1: every coordinate shorter by the same, so that the small ones go first."""
    return soft(change, column((1 - share) * change.abs().flatten(1).amax(1), change))


def fewer(change: Tensor, share: Tensor) -> Tensor:
    """l0: that share of its coordinates, the largest."""
    size = change.abs().flatten(1)
    rank = size.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    kept = (share * (size > 0).sum(1)).ceil()
    return torch.where((rank < kept[:, None]).view_as(change), change, 0)


SHORTER: dict[type[PerturbationSet], Callable[[Tensor, Tensor], Tensor]] = {
    LinfBall: lower,
    L2Ball: scaled,
    L1Ball: thinner,
    L0Ball: fewer,
}


def shortened(case: Case, room: Room, change: Tensor, met: Tensor, binary_steps: int) -> Tensor:
    """The shortest version of each change found by that many bisections, one forward pass each.

    change: (B, ...), in widths of the domain. met: bool (B,), the rows whose change meets the goal; others are not asked.
    """
    shorter = SHORTER[type(case.around)]
    high = torch.ones(len(change), dtype=change.dtype, device=change.device)
    low = torch.zeros_like(high)
    for _ in range(binary_steps):
        middle = (low + high) / 2
        asked = met & case.oracle.open
        hit = asked & case.goal.met(case.oracle.scores(room.at(shorter(change, middle)), asked))
        low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)
    return torch.where(column(met & (high < 1), change), shorter(change, high), change)


def finish(case: Case, room: Room, change: Tensor, met: Tensor, binary_steps: int) -> None:
    """Ask the shorter versions of the changes of the rows still open."""
    case, (room, change, met) = still_open(case, (room, change, met))
    if len(case.key):
        shortened(case, room, change, met, binary_steps)
