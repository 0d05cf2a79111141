"""What can go wrong on the way, on purpose: which fault a request meets is drawn from the seed and its own content.

The n-th arrival of the same inputs meets the same fault in every run, in whatever order requests arrive; another arrival of
them draws anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate
from time import time

from robustly.core.errors import UsageError

ERRORS = ("500", "502", "503")
KINDS = (*ERRORS, "429", "drop", "slow", "half", "malformed")
UNASKED = (*ERRORS, "429")
"""Of these the model is never asked; of the others it is, and the answer is late, cut, garbled or lost."""


@dataclass(frozen=True)
class Faults:
    """Shares of the requests, each from 0 to 1 and together at most 1.

    fail: a 500, 502 or 503, in equal shares. busy: a 429 with Retry-After. drop: the connection is dropped without a word.
    slow: the answer takes `seconds` longer. half: it ends in its middle, and so does the connection. malformed: a 200 whose
    body is no JSON. retry_after: what a 429 says: seconds, "date" for an HTTP date one second ahead, any other words as
    they are, or "" for nothing.
    """

    fail: float = 0.0
    busy: float = 0.0
    drop: float = 0.0
    slow: float = 0.0
    half: float = 0.0
    malformed: float = 0.0
    seconds: float = 5.0
    retry_after: str = "1"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, rate in self.rates.items():
            if not 0 <= rate <= 1:
                raise UsageError(f"the rate of {name} is a share of the requests from 0 to 1, got {rate:g}.")
        if sum(self.rates.values()) > 1 + 1e-9:
            raise UsageError(
                f"the rates of faults sum up to {sum(self.rates.values()):g}; at most 1 can be shared out."
            )
        if not (
            self.retry_after.isascii() and self.retry_after.isprintable()
        ):  # a line's end would begin another header
            raise UsageError(f"Retry-After is ASCII on one line, got {self.retry_after!r}.")
        if not 0 <= self.seconds <= 3600:
            raise UsageError(f"a slow answer takes from 0 to 3600 seconds longer, got {self.seconds:g}.")

    @property
    def rates(self) -> dict[str, float]:
        """The share of each kind of fault, those of `fail` together."""
        return {
            "fail": self.fail,
            "429": self.busy,
            "drop": self.drop,
            "slow": self.slow,
            "half": self.half,
            "malformed": self.malformed,
        }

    def of(self, digests: Sequence[str], arrival: int) -> str | None:
        """The fault, one of `KINDS`, that these inputs meet when they come for the `arrival`-th time; None for most."""
        words = hashlib.sha256(f"{self.seed}:{arrival}:{''.join(digests)}".encode()).digest()
        draw = int.from_bytes(words[:8], "little") / 2**64
        for kind, rate in self.rates.items():
            if draw < rate:
                return ERRORS[words[8] % 3] if kind == "fail" else kind
            draw -= rate
        return None

    def headers(self, kind: str) -> dict[str, str]:
        """The headers that go with a fault's answer."""
        if kind != "429" or not self.retry_after:
            return {}
        if self.retry_after == "date":
            return {"retry-after": formatdate(time() + 1, usegmt=True)}
        return {"retry-after": self.retry_after}
