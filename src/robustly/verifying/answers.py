"""What is told of one property, and what that means for whoever runs the command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from robustly.verifying.replay import Counterexample, told

Verdict: TypeAlias = Literal["sat", "unsat", "unknown"]


@dataclass(frozen=True)
class Answer:
    """The verdict on one property of one network.

    verdict: "sat": a counterexample was replayed to the letter. "unsat": there is none, for real inputs of the box and the
        network as it runs in float32. "unknown": neither, and `why` says so.
    proven_by: the names of the proofs, in the order they were tried, for unsat.
    notes: what a reader should know, such as a box that is empty.
    """

    verdict: Verdict
    counterexample: Counterexample | None = None
    why: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    proven_by: tuple[str, ...] = ()

    def text(self) -> str:
        """In the verification competition's format: the verdict, and for sat the counterexample below it."""
        return self.verdict + "\n" + (told(self.counterexample) + "\n" if self.counterexample is not None else "")
