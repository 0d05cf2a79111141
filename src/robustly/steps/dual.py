"""How fast a linear function can rise within a ball."""

from __future__ import annotations

from robustly.threats.ball import Ball
from robustly.threats.base import PerturbationSet
from robustly.threats.l1 import L1Ball
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall

DUAL: dict[type[Ball], float] = {LinfBall: 1.0, L2Ball: 2.0, L1Ball: float("inf")}
"""The order of the dual norm, by which the gradient is measured. There is none for l0, whose radius is counted."""


def dual_of(around: PerturbationSet) -> float:
    """The order for one of these balls."""
    return next(order for kind, order in DUAL.items() if isinstance(around, kind))
