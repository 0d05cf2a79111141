"""What scores, labels, or several answers of a random model say of a goal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.goals import Goal

FIRM = 1e-6
"""A margin below -FIRM * max|scores| stays negative when the batch size changes the last bits of float32."""


class Reading(NamedTuple):
    """One row a point. met: bool, the goal is met. firm: bool, so clearly that rounding cannot undo it.

    odd: bool, the answer was not finite. margin: float64, how far the answer is from the goal; -inf where that is NaN.
    """

    met: Tensor
    firm: Tensor
    odd: Tensor
    margin: Tensor


def of_scores(scores: Tensor, goal: Goal) -> Reading:
    """The reading of scores (R, K)."""
    margin, scale = goal.margin(scores), scores.abs().amax(1)
    finite = torch.isfinite(scale)
    met = ~(margin > 0) | ~finite
    firm = (margin < -FIRM * scale) | ~finite
    return Reading(met, firm, ~finite, torch.nan_to_num(margin.double(), nan=float("-inf")))


def of_labels(labels: Tensor, goal: Goal) -> Reading:
    """The reading of labels (R,), where every hit is firm for want of better, and the margin -1 or 1."""
    met = goal.met_by_labels(labels)
    return Reading(met, met, torch.zeros_like(met), torch.where(met, -1.0, 1.0).double())


def pooled(readings: Sequence[Reading]) -> Reading:
    """The reading of several answers at the same points: what most of them say, and the mean margin."""
    if len(readings) == 1:
        return readings[0]
    met, firm, odd = (_most([r[i] for r in readings]) for i in range(3))
    return Reading(met, firm, odd, torch.stack([r.margin for r in readings]).mean(0))


def _most(said: Sequence[Tensor]) -> Tensor:
    return 2 * torch.stack(list(said)).sum(0) > len(said)
