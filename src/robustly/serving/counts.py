"""What has arrived and what was told, so that a client's lost or doubled queries can be seen at the server."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from robustly.core.rows import Batch


def digests_of(batch: Batch) -> list[str]:
    """Sha256 (hex) of each input: of its float32 bytes as decoded, or of the UTF-8 bytes of a text."""
    rows = (row.numpy().tobytes() if isinstance(row, Tensor) else row.encode("utf-8", "surrogatepass") for row in batch)
    return [hashlib.sha256(row).hexdigest() for row in rows]


@dataclass
class Counts:
    """requests: to /predict. open, most_open: being answered now, and the most at one time. faults: injected, by kind.
    refusals: other 4xx, by status. errors: the model raised. detections: inputs that the defence flagged. arrived,
    answered: how often each input, by its digest, was understood, and how often it was told a whole answer. asked: how
    often the same inputs came in one request."""

    requests: int = 0
    open: int = 0
    most_open: int = 0
    errors: int = 0
    detections: int = 0
    accounts: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    arrived: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    asked: Counter[bytes] = field(default_factory=Counter)

    def enter(self) -> None:
        """A request has come."""
        self.requests += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)

    def arrive(self, digests: Sequence[str]) -> int:
        """These inputs have come together; how often they did, this time included."""
        self.arrived.update(digests)
        key = hashlib.sha256("".join(digests).encode()).digest()
        self.asked[key] += 1
        return self.asked[key]

    def told(self, digests: Sequence[str]) -> None:
        """These inputs were told a whole answer."""
        self.answered.update(digests)

    def as_dict(self, each: bool) -> dict[str, Any]:
        """Plain numbers; with each, [arrived, answered] of every input by its digest.

        examples: inputs that arrived, each as often as it did. distinct: how many different ones. unanswered: of these,
        those that never got an answer. doubled: those that got more than one.
        """
        out: dict[str, Any] = {
            "requests": self.requests,
            "open": self.open,
            "most_open": self.most_open,
            "examples": self.arrived.total(),
            "distinct": len(self.arrived),
            "answered": self.answered.total(),
            "unanswered": sum(digest not in self.answered for digest in self.arrived),
            "doubled": sum(count > 1 for count in self.answered.values()),
            "faults": dict(sorted(self.faults.items())),
            "refusals": dict(sorted(self.refusals.items())),
            "errors": self.errors,
            "detections": self.detections,
            "accounts": self.accounts,
        }
        if each:
            out["each"] = {digest: [count, self.answered[digest]] for digest, count in self.arrived.items()}
        return out
