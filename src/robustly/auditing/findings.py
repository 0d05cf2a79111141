"""What one stage learnt of one example: the unit that is committed, and how findings add up to a verdict."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from robustly.core.errors import Contradiction
from robustly.core.records import Frozen, Number, Verdict
from robustly.oracle.remote import CUT

CLEAN = -1
"""The stage number of the clean pass."""


class Finding(Frozen):
    """One example in one stage at one eps.

    outcome: "misclassified" and "invalid" come from the clean pass, "broken" and "certified" from later stages, "open"
    decides nothing. by: the spec that decided. forward, backward: passes spent on it here, the judge's included.
    """

    eps: float
    stage: int
    index: int
    outcome: Literal["open", "misclassified", "invalid", "broken", "certified"]
    by: str | None = None
    label: int | None = None
    confidence: Number = None
    margin: Number = None
    distance: Number = None
    point: str | None = None
    bound: Number = None
    best_margin: Number = None
    forward: int = 0
    backward: int = 0
    flags: tuple[str, ...] = ()
    error: str | None = None
    why: str | None = None


def unheard(found: Finding) -> bool:
    """Did a remote leave questions of this finding unanswered?"""
    return any(flag in CUT for flag in found.flags)


def verdict(findings: Iterable[Finding], eps: float, strict: bool = True) -> tuple[Verdict, Finding | None]:
    """The verdict at `eps` from everything known of one example, and the finding that decides it.

    Broken at a smaller eps (or by a point within this one) is broken here; certified at a larger is certified here. What
    is both is a contradiction; unless `strict`, for the record of the run that it stopped, it is told as broken.

    Raises:
        Contradiction: broken and certified at once.
    """
    broken: Finding | None = None
    certified: Finding | None = None
    for found in findings:
        if found.outcome == "misclassified" or (
            found.outcome == "invalid" and (found.stage == CLEAN or found.eps <= eps)
        ):
            return found.outcome, found
        if found.outcome == "broken" and reaches(found, eps) and (broken is None or _nearer(found, broken)):
            broken = found
        if found.outcome == "certified" and found.eps >= eps and certified is None:
            certified = found
    if broken and certified and strict:
        raise Contradiction(
            f"example {broken.index} is broken by {broken.by} at distance {broken.distance} (counterexample {broken.point}) "
            f"and certified at eps {certified.eps:g} by {certified.by} (bound {certified.bound}). One of the two is wrong: "
            "please report it with the run folder, which keeps both."
        )
    if broken:
        return "broken", broken
    if certified:
        return "certified", certified
    return "unknown", None


def reaches(found: Finding, eps: float) -> bool:
    """Is this counterexample inside the set of size eps?"""
    return found.eps <= eps or (found.distance is not None and found.distance <= eps)


def _nearer(a: Finding, b: Finding) -> bool:
    return (a.distance or 0.0) < (b.distance or 0.0)
