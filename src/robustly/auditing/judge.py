"""The one referee: re-runs the user's own model in float32 and checks membership; it shares no code with the attacks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.rows import Batch
from robustly.goals import Goal
from robustly.oracle import Access, Model
from robustly.threats.base import PerturbationSet

VOTES = 11
"""Fresh answers a random model is asked for a counterexample; most must be adversarial."""


class Judgement(NamedTuple):
    """One row a point. holds: it is in the set and the model errs on it. passes: forward passes a row.

    label int64, confidence and margin float64: NaN where the model gives labels only. odd: not all finite. tied: margin 0.
    """

    holds: Tensor
    inside: Tensor
    label: Tensor
    confidence: Tensor
    margin: Tensor
    distance: Tensor
    odd: Tensor
    tied: Tensor
    passes: int


def judge(model: Model, around: PerturbationSet, goal: Goal, z: Batch, random: bool = False) -> Judgement:
    """Judge z (R points, one a row of `around` and `goal`)."""
    votes = VOTES if random else 1
    answers = [model.ask_all(z) for _ in range(votes)]
    met = torch.stack([_met(model, goal, answer) for answer in answers]).float().mean(0) > 0.5
    inside = around.contains(z)
    answer = answers[0]
    if model.access == Access.LABELS:
        nothing = torch.full((len(z),), float("nan"), dtype=torch.float64, device=answer.device)
        no = torch.zeros_like(met)
        return Judgement(met & inside, inside, answer, nothing, nothing, around.distance(z), no, no, votes)
    odd = ~torch.isfinite(answer).all(1)
    margin = goal.margin(answer).double()
    return Judgement(
        holds=met & inside,
        inside=inside,
        label=answer.argmax(1),
        confidence=confidence(answer),
        margin=margin,
        distance=around.distance(z),
        odd=odd,
        tied=(margin == 0) & ~odd,
        passes=votes,
    )


def confidence(scores: Tensor) -> Tensor:
    """Softmax probability of the largest score, float64 (B,)."""
    return torch.softmax(scores.double(), 1).amax(1)


def _met(model: Model, goal: Goal, answer: Tensor) -> Tensor:
    return goal.met_by_labels(answer) if model.access == Access.LABELS else goal.met(answer)
