"""The one referee: re-runs the user's own model in float32 and checks membership; it shares no code with the attacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor

from robustly.auditing.votes import poll
from robustly.core.rows import Batch
from robustly.goals import Goal
from robustly.oracle import Access, Model, Smoothing, smoothing_of
from robustly.threats.base import PerturbationSet

VOTES = 11
"""Fresh answers a random model is asked for a counterexample; most must be adversarial."""


class Judgement(NamedTuple):
    """One row a point. holds: it is in the set and the model errs on it. passes: forward passes a row.

    label int64, confidence and margin float64: NaN where the model gives labels only. odd: not all finite. tied: margin 0.
    spent: int64, passes of each row, where they differ. unheard: by row, the flag and a sentence why a remote left the judge
    without an answer; such a row holds nothing.
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
    spent: Tensor | None = None
    unheard: Mapping[int, tuple[str, str]] = {}


def judge(
    model: Model,
    around: PerturbationSet,
    goal: Goal,
    z: Batch,
    random: bool = False,
    owners: Tensor | None = None,
    left: Tensor | None = None,
) -> Judgement:
    """Judge z (R points, one a row of `around` and `goal`). owners: int64 (R,), their example numbers, on whose account a
    remote is asked. left: int64 (R,), most that each may cost there, retries included."""
    votes, smoothing = VOTES if random else 1, smoothing_of(model)
    if smoothing is not None:
        return _voted(smoothing, around, goal, z)
    if model.remote is not None:
        return _judged_afar(model, around, goal, z, votes, torch.arange(len(z)) if owners is None else owners, left)
    return _judged(model, around, goal, z, [model.ask_all(z) for _ in range(votes)])


def _voted(smoothing: Smoothing, around: PerturbationSet, goal: Goal, z: Batch) -> Judgement:
    """What fresh votes say; see `auditing.votes`."""
    found, inside = poll(smoothing, goal, cast(Tensor, z)), around.contains(z)
    no = torch.zeros_like(inside)
    distance = around.distance(z)
    return Judgement(
        found.against & inside, inside, found.label, found.share, found.margin, distance, no, no, found.passes
    )


def _judged_afar(
    model: Model, around: PerturbationSet, goal: Goal, z: Batch, votes: int, owners: Tensor, left: Tensor | None
) -> Judgement:
    """What answers over a wire say; a row that did not get all of its votes holds nothing."""
    replies = []
    for _ in range(votes):
        replies.append(model.replies(z, owners, left))
        left = None if left is None else left - replies[-1].spent
    judged = _judged(model, around, goal, z, [r.answers for r in replies])
    heard = torch.stack([r.answered for r in replies]).all(0)
    why = {row: said for r in reversed(replies) for row, said in r.why.items()}
    spent = torch.stack([r.spent for r in replies]).sum(0)
    return judged._replace(holds=judged.holds & heard, spent=spent, unheard=why)


def _judged(model: Model, around: PerturbationSet, goal: Goal, z: Batch, answers: list[Tensor]) -> Judgement:
    votes = len(answers)
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
