"""How a smoothed model is judged: by fresh votes and an exact test, never by the votes that a search has seen.

A certificate speaks of the smoothed classifier g, of which any number of votes is only a sample. So an input is held against
g only where votes that no search has seen say with near certainty that g errs there; where they can't tell, the deployed
classifier abstains, and an abstention is no counterexample. On the unperturbed input it counts as a mistake, as in Cohen et
al. 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.auditing.findings import CLEAN, Finding
from robustly.auditing.plan import PlanStage
from robustly.core.specs import Spec, lookup
from robustly.goals import Goal
from robustly.oracle import Model, Smoothing, smoothing_of
from robustly.steps.binomial import doubt

FRESH = 10
"""Fresh votes of a judgement, in answers of the smoothed model; one more chooses the class."""
WRONGLY = 1e-6
"""Probability that an input is called a counterexample to the smoothed classifier and is none."""
UNREAD = 0.001
"""Probability that an unperturbed input is said to be read as a class that is not the smoothed classifier's."""


class Poll(NamedTuple):
    """One row an input. against: the smoothed classifier errs on it, but for a chance of `WRONGLY`. label int64: the class of
    most fresh votes, -1 for none. share, margin float64: its share of them, and the goal's margin. passes: a row."""

    against: Tensor
    label: Tensor
    share: Tensor
    margin: Tensor
    passes: int


def poll(smoothing: Smoothing, goal: Goal, z: Tensor) -> Poll:
    """Fresh votes on inputs z (R, ...), one a row of the goal."""
    rows = [_polled(smoothing, goal.take(slice(i, i + 1)), row) for i, row in enumerate(z)]
    columns = [torch.tensor(c, device=z.device) for c in zip(*rows, strict=True)] if rows else [torch.zeros(0)] * 4
    against, label, share, margin = columns
    return Poll(against.bool(), label.long(), share.double(), margin.double(), FRESH + 1)


def _polled(smoothing: Smoothing, goal: Goal, x: Tensor) -> tuple[bool, int, float, float]:
    n, first = FRESH * smoothing.votes, smoothing.counts(x, "judge's choice", smoothing.votes)
    fresh = smoothing.counts(x, "judge", n)
    size = max(len(first), len(fresh), 2 + int(goal.y if goal.target is None else goal.target))
    first, fresh = (torch.nn.functional.pad(c, (0, size - len(c))) for c in (first, fresh))
    place = 1 + int(goal.y if goal.target is None else goal.target)
    others = torch.arange(size) != place
    if goal.target is None:  # does the rival that other votes chose beat the true class?
        rival = int(torch.where(others.to(first.device), first, -1).argmax())
        ahead, behind = int(fresh[rival]), int(fresh[place])
    else:  # does the target beat the strongest of the rest?
        ahead, behind = int(fresh[place]), int(fresh[others.to(fresh.device)].max())
    label = int(fresh.argmax()) - 1
    return doubt(ahead, behind) <= WRONGLY, label, float(fresh.max()) / n, (behind - ahead) / n


def read_votes(smoothing: Smoothing, goal: Goal, index: Tensor, x: Tensor, eps: float) -> list[Finding]:
    """What the smoothed model says of unperturbed inputs, one finding an example of `index`."""
    out = []
    n = FRESH * smoothing.votes
    for i, y, row in zip(index.tolist(), goal.y.tolist(), x, strict=True):
        counts = smoothing.counts(row, "clean", n)
        counts = torch.nn.functional.pad(counts, (0, max(0, y + 2 - len(counts))))
        first, second = counts.topk(2).values.tolist()
        label = int(counts.argmax()) - 1
        sure = doubt(first, second, "two-sided") <= UNREAD
        rest = int(torch.cat((counts[: y + 1], counts[y + 2 :])).max())
        out.append(
            Finding(
                eps=eps,
                stage=CLEAN,
                index=i,
                outcome="open" if sure and label == y else "misclassified",
                by="clean",
                label=label if sure and label >= 0 else None,
                confidence=first / n,
                margin=(int(counts[y + 1]) - rest) / n,
                flags=() if sure else ("abstained",),
            )
        )
    return out


def over_all(stages: Sequence[PlanStage], count: int) -> tuple[PlanStage, ...]:
    """The stages, with alpha of certificates by votes divided over so many examples where no number was given."""
    return tuple(replace(s, make=_over(s.spec, count).build()) if _divides(s.spec) else s for s in stages)


def _divides(spec: Spec) -> bool:
    return lookup(spec.kind, spec.name).needs == "votes" and dict(spec.args).get("examples", 0) is None


def _over(spec: Spec, count: int) -> Spec:
    return replace(spec, args=tuple((k, count if k == "examples" else v) for k, v in spec.args))


def told(model: Model, stages: Sequence[PlanStage]) -> list[str]:
    """What a reader must know of certificates by votes."""
    if smoothing_of(model) is None:
        return []
    out = [
        (
            "certificates and counterexamples are about the smoothed classifier, which any number of votes only samples: an input "
            f"is a counterexample where {FRESH} answers' fresh votes say so but for a chance of {WRONGLY:g}, and an abstention is "
            "none; on an unperturbed input an abstention counts as misclassified"
        )
    ]
    for stage in stages:
        if lookup(stage.spec.kind, stage.spec.name).needs == "votes":
            given = dict(stage.spec.args)
            share = f"all certificates by {stage.spec.name} hold at once" if given["examples"] != 1 else "each holds"
            out.append(f"with probability {1 - given['alpha']:g} over the noise {share} (alpha {given['alpha']:g})")
    return out
