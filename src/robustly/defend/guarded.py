"""A model behind a detector of query sequences: what an account has asked decides what it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from robustly.oracle.model import Access, Model


class Detector(Protocol):
    """Remembers queries and flags those that belong to an attack."""

    def flag(self, z: Tensor) -> Tensor:
        """Bool (B,) for queries (B, ...), which are taken one after the other."""
        ...


@dataclass
class Account:
    """One client's queries: how many there were, and the numbers (from 1) of those that were flagged."""

    detector: Detector
    queries: int = 0
    detected: list[int] = field(default_factory=list)

    def look(self, z: Tensor) -> Tensor:
        """Bool (B,): which of the queries z (B, ...) are flagged."""
        flagged = self.detector.flag(z)
        self.detected += [self.queries + 1 + i for i in flagged.nonzero().flatten().tolist()]
        self.queries += len(z)
        return flagged


Reply = Callable[[Tensor, Tensor], Tensor]
"""What is told instead: scores (B, K), or labels (B,), and which rows are flagged, bool (B,), to the same shape."""


def honest(answer: Tensor, flagged: Tensor) -> Tensor:
    """What the model says: detections are only counted."""
    return answer


def constant(answer: Tensor, flagged: Tensor) -> Tensor:
    """For flagged rows the same whatever was asked: all scores 0, but 1 for class 0; or label 0."""
    fixed = torch.zeros_like(answer)
    if answer.dim() == 2:
        fixed[:, 0] = 1
    return torch.where(_rows(flagged, answer), fixed, answer)


def wrong(answer: Tensor, flagged: Tensor) -> Tensor:
    """For flagged rows the scores of the best and the worst class are exchanged; of labels, the one before or after."""
    if answer.dim() == 1:
        other = torch.where(answer > 0, answer - 1, answer + 1)
    else:
        ends = torch.stack((answer.argmax(1), answer.argmin(1)), 1)
        other = answer.scatter(1, ends, answer.gather(1, ends.flip(1)))
    return torch.where(_rows(flagged, answer), other, answer)


def guarded(model: Model, account: Account, reply: Reply = honest) -> Model:
    """The model as this account sees it: scores, or labels, and no gradient; every row asked is looked at first."""

    def call(z: Tensor) -> Tensor:
        flagged = account.look(z)
        return reply(model.ask(z), flagged.to(z.device))

    return replace(model.granting(min(model.access, Access.SCORES)), call=call, module=None)


def _rows(flagged: Tensor, answer: Tensor) -> Tensor:
    return flagged.reshape(-1, *(1,) * (answer.dim() - 1))
