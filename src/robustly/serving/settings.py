"""What is served and how."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from robustly.core.errors import UsageError
from robustly.defend.guarded import Detector
from robustly.oracle.model import Model
from robustly.serving.faults import Faults

BYTES = 32 * 2**20
EXAMPLES = 1024

REPLIES = ("ban", "refuse", "wrong", "constant", "nothing")
"""On a detection: the account is shut out for good (403); this request is refused (403); flagged inputs get a wrong or a
constant answer; detections are only counted."""


@dataclass(frozen=True)
class Defence:
    """watch: makes the detector of a new account. reply: one of `REPLIES`."""

    watch: Callable[[], Detector]
    reply: str = "ban"

    def __post_init__(self) -> None:
        if self.reply not in REPLIES:
            raise UsageError(f'"{self.reply}" is no reply to a detection; there are {", ".join(REPLIES)}.')


@dataclass(frozen=True)
class Serving:
    """A model and the manner in which it answers.

    shape: of one input, where it is known; inputs of another shape are refused. text: inputs are texts. label_only: no
    scores are told. latency: seconds every answer takes at least. decimals: scores are rounded to; None leaves them as they are.
    token: the bearer token that a request must carry. bytes, examples: the most that one request may have.
    """

    model: Model
    shape: tuple[int, ...] | None = None
    text: bool = False
    label_only: bool = False
    latency: float = 0.0
    decimals: int | None = None
    faults: Faults = field(default_factory=Faults)
    defence: Defence | None = None
    token: str | None = field(default=None, repr=False)
    bytes: int = BYTES
    examples: int = EXAMPLES

    def __post_init__(self) -> None:
        if not 0 <= self.latency <= 3600:
            raise UsageError(f"latency is a number of seconds from 0 to 3600, got {self.latency:g}.")
        if self.bytes < 1 or self.examples < 1:
            raise UsageError(f"a request has at least 1 byte and 1 example, got {self.bytes} and {self.examples}.")
        if self.decimals is not None and not 0 <= self.decimals <= 17:
            raise UsageError(f"decimals is a whole number from 0 to 17, got {self.decimals}.")
        if self.token is not None and not re.fullmatch(r"[!-~]+", self.token):
            raise UsageError("the token is empty or has signs that a header doesn't carry; use letters and digits.")
        if self.defence is not None and self.text:
            raise UsageError("the stateful defence measures distances of numbers, and this model reads texts.")
