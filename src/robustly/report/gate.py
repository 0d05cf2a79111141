"""The gate and the exit codes: one function for all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from robustly.core.errors import AccessError, UsageError
from robustly.core.records import Record

PASSED, FAILED, USAGE, BROKEN_RUN, INCONCLUSIVE = 0, 1, 2, 3, 4
INTERRUPTED = 130


@dataclass(frozen=True)
class Gate:
    """What the gate says, and the sentence that says why."""

    outcome: Literal["passed", "failed", "inconclusive"]
    sentence: str


def gate(record: Record, fail_under: float) -> Gate:
    """Compare the confidence interval for the population's robust accuracy with a threshold.

    Passed: the lower bound is at least `fail_under`. Failed: the upper bound is below it, or an example is invalid, or
    there is no number to judge. Inconclusive: the interval straddles it, or the run is partial. Nothing missing passes.

    Raises:
        UsageError: `fail_under` is no fraction.
    """
    if not 0 <= fail_under <= 1:
        raise UsageError(f"fail_under is a fraction between 0 and 1, got {fail_under:g}. Write 0.40 for 40 %.")
    wrong = _unusable(record)
    if wrong:
        return Gate("failed", wrong)
    s, level = record.summary, f"{record.summary.population.level:.0%}"
    low, high = s.population.low, s.population.high
    if s.invalid:
        return Gate(
            "failed", f"{s.invalid} of {s.examples} examples are invalid: the model raised or answered NaN or infinity."
        )
    if high < fail_under:
        if record.status == "partial" and not _all_asked(record):
            return Gate("inconclusive", f"the run is partial ({record.why_partial}) and not every example was asked.")
        return Gate("failed", f"robust accuracy is at most {high:.4f} ({level} confidence), below {fail_under:g}.")
    if record.status == "partial":
        return Gate("inconclusive", f"the run is partial ({record.why_partial}); resume it to decide the gate.")
    if low >= fail_under:
        return Gate("passed", f"robust accuracy is at least {low:.4f} ({level} confidence), not below {fail_under:g}.")
    return Gate(
        "inconclusive",
        f"robust accuracy lies between {low:.4f} and {high:.4f} ({level} confidence), on both sides of {fail_under:g}: "
        "more examples or a stronger plan would decide.",
    )


def exit_code(
    record: Record | None = None,
    fail_under: float | None = None,
    error: BaseException | None = None,
    signal: int | None = None,
) -> int:
    """The exit code of every command.

    0 passed; 1 gate failed; 2 usage or configuration; 3 run error or contradiction; 4 inconclusive (the interval
    straddles the threshold, or the run is partial); 128 + the signal's number (130 for SIGINT, 143 for SIGTERM).
    A signal goes before an error, an error before a record.
    """
    if signal is not None:
        return 128 + signal
    if error is not None:
        return _of_error(error)
    if record is None:
        return PASSED if fail_under is None else USAGE  # a gate without a record has nothing to judge
    if record.status == "contradiction":
        return BROKEN_RUN
    if fail_under is None:
        return INCONCLUSIVE if record.status == "partial" else PASSED
    try:
        outcome = gate(record, fail_under).outcome
    except UsageError:
        return USAGE
    return {"passed": PASSED, "failed": FAILED, "inconclusive": INCONCLUSIVE}[outcome]


def _of_error(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return USAGE if isinstance(error, (UsageError, AccessError)) else BROKEN_RUN


def _unusable(record: Record) -> str | None:
    """Why the record's numbers cannot be judged, if so."""
    s = record.summary
    if record.status == "contradiction":
        return "the record contradicts itself: an example is broken and certified at once."
    if s.examples == 0:
        return "no example was audited, so there is no robust accuracy."
    if s.examples != len(record.rows):
        return f"the summary speaks of {s.examples} examples, but the record holds {len(record.rows)}."
    low, high = s.population.low, s.population.high
    if not (math.isfinite(low) and math.isfinite(high) and 0 <= low <= high <= 1):
        return f"the record has no usable interval for robust accuracy (low {low}, high {high})."
    return None


def _all_asked(record: Record) -> bool:
    """Did every example get its clean answer? Until then an unasked one counts as undecided and says nothing."""
    return all(row.clean_label is not None or row.verdict != "unknown" for row in record.rows)
