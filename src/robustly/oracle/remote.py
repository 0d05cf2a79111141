"""A model that is asked over a wire: what it costs, what it hears, and what it may leave unanswered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from robustly.core.rows import Batch
from robustly.threats.base import Domain, PerturbationSet

NOBODY = -1
"""The owner of a question that belongs to no example, such as a check whether the target has changed."""
BUDGET, UNANSWERED, STOPPED = "budget", "unanswered", "stopped"
"""Why a row got no answer: its example's or the campaign's budget ended; the retries did; the campaign was stopped."""
CAMPAIGN = "the query budget ended"
"""What is said where the budget of the whole campaign did."""
CUT = (BUDGET, UNANSWERED, STOPPED)
"""Flags of findings that more queries might have changed."""


@dataclass(frozen=True)
class Replies:
    """What R questions brought.

    answers: scores float32 (R, K), or labels int64 (R,); zeros, or -1, in rows that got none. answered: bool (R,).
    spent: int64 (R,), how often the question was sent, retries included; one served from the store costs what it cost
    when it was sent, so that a resumed run has the same ledger. why: by row, the flag and a sentence for those unanswered.
    """

    answers: Tensor
    answered: Tensor
    spent: Tensor
    why: Mapping[int, tuple[str, str]] = field(default_factory=dict)


@runtime_checkable
class Remote(Protocol):
    """The only way to a model behind a wire. A row without an answer is closed, and never counts against the model."""

    def prepare(self, domain: Domain, accounts: Sequence[str] = (), names: Sequence[str] = ()) -> None:
        """Say what is going to be asked. domain: of the inputs. accounts: a content hash for each example number. names: of
        the classes, where nothing else says them."""
        ...

    def ask(self, z: Batch, owners: Tensor, left: Tensor | None = None, held: int = 0) -> Replies:
        """Ask R points, each on the account of an example: owners int64 (R,).

        left: int64 (R,), most that the owner of each row may still spend in this call, all its rows together.
        held: what the account of an example must keep, say for the judge.
        """
        ...

    def carried(self, z: Batch, around: PerturbationSet | None = None) -> Batch:
        """The points as the other side will read them, one a row of `around`.

        Rounded to the nearest value that the wire carries or, where that leaves the set, towards the clean input.
        """
        ...

    def named(self, answers: Tensor) -> Tensor:
        """Labels int64 (R,) of answers: of the largest score, and -1 where it is tied or not finite."""
        ...

    def begin(self, scope: str) -> None:
        """A unit of work begins. To a model that is random, the n-th question of equal bytes in it is one of its own."""
        ...
