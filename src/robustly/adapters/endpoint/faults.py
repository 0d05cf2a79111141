"""What can go wrong on the way to an endpoint and back, by what is to be done about it. No text here holds a secret."""

from __future__ import annotations


class Passing(Exception):  # noqa: N818 - not ours
    """May be over when asked again: too busy, a dropped connection, half an answer, no JSON.

    wait: seconds that the server asked for. busy: it said no more than that (429).
    """

    def __init__(self, told: str, wait: float | None = None, busy: bool = False) -> None:
        super().__init__(told)
        self.wait, self.busy = wait, busy


class Final(Exception):  # noqa: N818
    """Asking again is no use, and neither are other questions: a refusal, a redirect, a certificate that doesn't hold."""


class Misfit(Exception):  # noqa: N818
    """An answer came, but not what the settings say: a path that leads nowhere, a NaN, an unknown label."""


class Unpaid(Exception):  # noqa: N818
    """The budget does not allow another try."""
