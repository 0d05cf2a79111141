"""What a running audit tells whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


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

    @property
    def sentence(self) -> str:
        """The bracket in one line."""
        return (
            f"robust accuracy between {100 * self.certified:.1f} % certified and {100 * self.attacked:.1f} % attacked, "
            f"{self.undecided} undecided"
        )


Watcher: TypeAlias = Callable[[Snapshot], None]
