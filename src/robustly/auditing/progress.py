"""What a running audit tells whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Campaign:
    """How the questions to an endpoint go. left: of the budget, if there is one. broken: examples, those of the batch in
    flight included; distance: their median."""

    queries: int
    left: int | None
    spend: float | None
    currency: str
    broken: int
    distance: float | None

    @property
    def sentence(self) -> str:
        """The same in one line."""
        parts = [f"{self.queries:,} queries"]
        parts += [f"{self.left:,} left"] if self.left is not None else []
        parts += [f"{self.spend:,.2f} {self.currency}".strip() + " spent"] if self.spend is not None else []
        near = f" at a median distance of {self.distance:.4g}" if self.distance is not None else ""
        return f"{', '.join(parts)}; {self.broken} broken{near}"


@dataclass(frozen=True)
class Snapshot:
    """The state of a run. Fractions are of all examples; seconds of this process."""

    examples: int
    certified: float
    attacked: float
    undecided: int
    clean: float
    stage: str
    stage_number: int
    stages: int
    eps: float
    done: int
    asked: int
    forward: int
    backward: int
    seconds: float
    campaign: Campaign | None = None

    @property
    def sentence(self) -> str:
        """The bracket in one line."""
        return (
            f"robust accuracy between {100 * self.certified:.1f} % certified and {100 * self.attacked:.1f} % attacked, "
            f"{self.undecided} undecided"
        )


Watcher: TypeAlias = Callable[[Snapshot], None]
