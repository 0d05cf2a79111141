"""The ball in a set that is a ball, a grid in one, or two of them: where searches that only propose points find its bounds."""

from __future__ import annotations

from collections.abc import Sequence

from robustly.core.errors import UsageError
from robustly.steps.radii import width_of
from robustly.steps.types import Case
from robustly.threats.ball import Ball
from robustly.threats.base import Sized


def core_of(case: Case, who: str, kinds: Sequence[type[Ball]], say: str) -> Ball:
    """The ball of the case's set: itself, the one under a grid, or the first of two.

    Raises:
        UsageError: there is none of these kinds, or its domain is unbounded; `who` is the attack, `say` what to write
            instead.
    """
    ball = case.around.core if isinstance(case.around, Sized) else None
    if not isinstance(ball, tuple(kinds)):
        raise UsageError(f"{who} can't search in {type(case.around).__name__}; give it {say}.")
    width_of(ball, who)
    return ball
