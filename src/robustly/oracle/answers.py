"""What is asked of an oracle and what it answers: plain records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from robustly.core.errors import UsageError
from robustly.goals import Goal

Loss = Callable[[Tensor, Goal], Tensor]


class Answer(NamedTuple):
    """One gradient pass: value (B,), grad (B, ...), scores (B, K); zeros in rows that were not asked."""

    value: Tensor
    grad: Tensor
    scores: Tensor


class Jacobian(NamedTuple):
    """One forward and T backward passes: scores (B, K), grads (B, T, ...); zeros in rows that were not asked."""

    scores: Tensor
    grads: Tensor


class Proposals(NamedTuple):
    """Scores (M, K) of M candidates, and which were asked, bool (M,); the others have zero scores."""

    scores: Tensor
    asked: Tensor


class Hits(NamedTuple):
    """Which of M candidates met the oracle's goal, and which were asked, both bool (M,); what wasn't asked didn't."""

    met: Tensor
    asked: Tensor


class Derived(NamedTuple):
    """Scores (R, K), values (R, T) of functions of them, and the T gradients of those, each (R, ...)."""

    scores: Tensor
    values: Tensor
    grads: list[Tensor]


Heads = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Limits:
    """Hard limits. queries: most forward passes an example, None for no limit. held: queries that the account of an example
    with a remote keeps, say for the judge."""

    queries: int | None = None
    held: int = 0

    def __post_init__(self) -> None:
        """Refuse what would ask nothing."""
        if self.queries is not None and self.queries < 1:
            raise UsageError(f"a query budget is at least 1, got {self.queries}.")
