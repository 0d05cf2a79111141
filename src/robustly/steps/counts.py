"""Arguments that count something."""

from __future__ import annotations

from robustly.core.errors import UsageError


def at_least_one(*counts: tuple[int, str]) -> None:
    """Refuse a count below 1; each with the name of its argument.

    Raises:
        UsageError: one is.
    """
    for value, what in counts:
        if value < 1:
            raise UsageError(f"{what} must be at least 1, got {value}.")
