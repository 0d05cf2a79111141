"""The size of a change in the norm of each ball, (B,) for (B, ...); what least-distance attacks make small."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robustly.core.rows import column
from robustly.threats.base import PerturbationSet
from robustly.threats.l0 import L0Ball
from robustly.threats.l1 import L1Ball
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall


def l2_size(change: Tensor) -> Tensor:
    """The Euclidean length."""
    return change.flatten(1).norm(dim=1)


SIZES: dict[type[PerturbationSet], Callable[[Tensor], Tensor]] = {
    LinfBall: lambda change: change.abs().flatten(1).amax(1),
    L2Ball: l2_size,
    L1Ball: lambda change: change.abs().flatten(1).sum(1),
    L0Ball: lambda change: (change != 0).flatten(1).sum(1).to(change.dtype),
}


def nearer(change: Tensor, far: Tensor, met: Tensor, best: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest change so far and its size: `change` where it met the goal, bool (B,), and is smaller than `least`."""
    better = met & (far < least)
    return torch.where(column(better, change), change, best), torch.where(better, far, least)
