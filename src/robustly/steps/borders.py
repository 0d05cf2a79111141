"""The borders between the own class and others, as the linearised model sees them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.rows import column
from robustly.losses import margin
from robustly.steps.counts import at_least_one
from robustly.steps.radii import unit
from robustly.steps.types import Case


class Borders(NamedTuple):
    """T borders an example: a border is where its gap is 0.

    scores: (B, K). gap: (B, T), the other class's score less that of the own one. slope: (B, T, ...), its gradient.
    label: int64 (B, T), the other class.
    """

    scores: Tensor
    gap: Tensor
    slope: Tensor
    label: Tensor


def rivals(case: Case, targets: int) -> Tensor | None:
    """The most likely other labels at the clean input, int64 (B, T), at most `targets`; None for one or a set target.

    The clean scores are asked only where there are more classes than that.

    Raises:
        UsageError: targets < 1.
    """
    at_least_one((targets, "targets"))
    if targets == 1 or case.goal.target is not None:
        return None
    own, classes = case.goal.y[:, None], case.oracle.model.classes
    if classes is not None and classes <= targets + 1:
        others = torch.arange(classes - 1, device=own.device).expand(len(own), -1)
        return others + (others >= own)
    scores = case.oracle.clean_scores().scatter(1, own, float("-inf"))
    return scores.argsort(dim=1, descending=True, stable=True)[:, : min(targets, scores.shape[1] - 1)]


def borders_at(case: Case, z: Tensor, others: Tensor | None) -> Borders:
    """The borders with these labels (B, T) at z (B, ...), for T + 1 backward passes a row.

    None is the border of the goal's margin alone, for one backward pass: with the class that comes next at z or,
    towards a target, between the target and the class above all others.
    """
    if others is None:
        answer = case.oracle.gradient(z, margin, case.goal)
        label = next_label(answer.scores, case.goal.y) if case.goal.target is None else case.goal.target
        return Borders(answer.scores, answer.value[:, None], answer.grad[:, None], label[:, None])
    own = case.goal.y[:, None]
    scores, grads = case.oracle.jacobian(z, torch.cat((own, others), 1))
    gap = scores.gather(1, others) - scores.gather(1, own)
    return Borders(scores, gap, grads[:, 1:] - grads[:, :1], others)


def next_label(scores: Tensor, own: Tensor) -> Tensor:
    """The label of the largest score (B, K) but that of `own` (B,); int64 (B,)."""
    return scores.scatter(1, own[:, None], float("-inf")).argmax(1)


def pick(borders: Borders, which: Tensor) -> tuple[Tensor, Tensor]:
    """The gap (B,) and the slope (B, ...) of one border a row, by its place (B,)."""
    row = torch.arange(len(which), device=which.device)
    return borders.gap[row, which], borders.slope[row, which]


def nearest(borders: Borders, dual: float) -> Tensor:
    """The place (B,) of the border that a linear model would reach with the least change; `dual` is the dual norm."""
    fall = torch.linalg.vector_norm(borders.slope.flatten(2), ord=dual, dim=2)
    return (borders.gap.abs() / fall.clamp_min(1e-30)).argmin(1)


NUDGE = 1e-4  # of the way so far: how much further each step goes, so that a border is crossed and not only met


def step_to(borders: Borders, p: float, far: Tensor) -> Tensor:
    """The change (B, ...) of least p-norm, 2 or inf, that brings the nearest border's linear model to 0, bounds aside.

    far: (B,), the distance from the input so far. The authors' code adds 1e-4 to each step, for images in [0, 1]; here
    it is that share of `far`, so that units don't matter.

    Moosavi-Dezfooli et al. 2016, arXiv:1511.04599, eq. 9 and 11. In a box the exact least change is longer and leads
    further from where the model is linear: on a small image network it ended up to twice as far away.
    """
    dual = 2.0 if p == 2 else 1.0
    gap, slope = pick(borders, nearest(borders, dual))
    fall = torch.linalg.vector_norm(slope.flatten(1), ord=dual, dim=1).clamp_min(1e-30)
    distance = column(gap.abs() / fall + NUDGE * far.to(gap.dtype), slope)
    return distance * (unit(slope) if p == 2 else slope.sign())
