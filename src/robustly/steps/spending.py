"""How many points a row may still ask: the `queries` of an attack that counts them, as a hard bound."""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.steps.types import Case


def purse(case: Case, queries: int) -> Tensor:
    """The passes on each row's bill, int64 (B,), at which it will have asked `queries` points from now on."""
    return _billed(case) + queries * case.oracle.manner.times


def left(case: Case, purse: Tensor) -> Tensor:
    """Points each row may still ask, int64 (B,): what remains of its purse, and 0 where the oracle asks it no more.

    It is read off the bill, so whatever was asked in between, and by whom, is counted.
    """
    points = (purse - _billed(case)).clamp_min(0) // case.oracle.manner.times
    return torch.where(case.oracle.open, points, 0)


def _billed(case: Case) -> Tensor:
    return case.oracle.ledger.forward[case.oracle.rows]
