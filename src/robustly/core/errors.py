"""The errors a user can meet, and the exit code each leads to.

Every message says what is wrong, where, and what to write instead. Exit codes: see `robustly.report.gate.exit_code`.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class RobustlyError(Exception):
    """Base of all errors that are meant for the user rather than for us."""


class UsageError(RobustlyError):
    """The request itself is wrong: a bad argument, file, range or configuration (exit code 2)."""


class AccessError(RobustlyError):
    """An attack asked the oracle for more than the threat grants (say gradients of a scores-only model)."""


class RunError(RobustlyError):
    """A run could not go on: storage, a model that raises too often (exit code 3)."""


class ModelRaised(RobustlyError):  # noqa: N818 - it says what happened
    """The user's model raised on some input; the audit narrows it down to the example and goes on."""


class Contradiction(RunError):  # noqa: N818 - the field's word
    """An example is broken and certified at once, so one of the two is wrong: the run stops and keeps both witnesses."""


class SoundnessWarning(UserWarning):
    """A result was reached, but shouldn't be believed as it stands: say, the attack was blind."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A clause that names the closest known word, or all of them: ' Did you mean "pgd"?'."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    return f' Did you mean "{close[0]}"?' if close else f" Known: {', '.join(known)}."
