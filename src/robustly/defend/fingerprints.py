"""Detection of query sequences by fingerprints: two queries of one attack share most of their hashed windows.

Li, Shan, Wenger, Zhang, Zheng & Zhao 2022, "Blacklight: Scalable Defense for Neural Networks against Query-Based Black-Box
Attacks", arXiv:2006.14042, section 4.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.threats.base import Domain

STEPS, WINDOW, KEPT, SHARED = 50, 20, 50, 25  # of the paper: 8-bit levels a step, window, hashes kept, hashes shared
MOST = 100_000


@dataclass
class Fingerprints:
    """What was asked, as sets of hashes; a query that shares more than `shared` with any earlier one is flagged.

    domain: the range of the inputs, finite. step: the width of a quantisation step, in 8-bit levels of that range.
    window: numbers hashed together; windows slide by one over the flattened input. kept: so many hashes, the largest,
    make a fingerprint. secret: keys the hashes, so that nobody outside can tell which windows are kept (the paper's
    salt). most: queries that are remembered; the oldest are forgotten.

    A window of equal content counts once wherever it stands, so that a plain background is one hash and no more.
    """

    domain: Domain
    step: int = STEPS
    window: int = WINDOW
    kept: int = KEPT
    shared: int = SHARED
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    most: int = MOST
    _where: dict[bytes, list[int]] = field(default_factory=dict, repr=False)
    _known: deque[tuple[int, frozenset[bytes]]] = field(default_factory=deque, repr=False)
    _asked: int = 0

    def __post_init__(self) -> None:
        width = self.domain.high - self.domain.low
        if not 0 < width < float("inf"):
            raise UsageError(f"fingerprints need inputs of a finite range to count in steps, got {self.domain}.")
        if not 0 < self.shared < self.kept or self.window < 1 or not 1 <= self.step <= 255:
            raise UsageError(
                f"fingerprints need 0 < shared < kept, window >= 1 and step from 1 to 255; got shared={self.shared}, "
                f"kept={self.kept}, window={self.window}, step={self.step}."
            )

    def flag(self, z: Tensor) -> Tensor:
        """Bool (B,): is it an attack's? The queries z (B, ...) are taken one after the other, and all remembered."""
        levels = (z.detach().cpu().flatten(1).double() - self.domain.low) / (self.domain.high - self.domain.low) * 255
        rows = (levels / self.step).round().clamp(0, 255).to(torch.uint8)
        return torch.tensor([self._flag_one(bytes(row.tolist())) for row in rows], dtype=torch.bool)

    def fingerprint(self, content: bytes) -> frozenset[bytes]:
        """The largest `kept` of the hashes of all windows of a quantised input."""
        last = max(len(content) - self.window, 0)
        windows = {content[i : i + self.window] for i in range(last + 1)}
        hashes = sorted(hashlib.blake2b(w, key=self.secret, digest_size=12).digest() for w in windows)
        return frozenset(hashes[-self.kept :])

    def _flag_one(self, content: bytes) -> bool:
        marks = self.fingerprint(content)
        met = Counter(number for mark in marks for number in self._where.get(mark, ()))
        most = max(met.values(), default=0)
        self._remember(marks)
        return most > self.shared

    def _remember(self, marks: frozenset[bytes]) -> None:
        if len(self._known) >= self.most:
            number, old = self._known.popleft()
            for mark in old:
                self._where[mark].remove(number)
                if not self._where[mark]:
                    del self._where[mark]
        self._known.append((self._asked, marks))
        for mark in marks:
            self._where.setdefault(mark, []).append(self._asked)
        self._asked += 1


def fingerprints(domain: Domain, window: int = WINDOW) -> Callable[[], Fingerprints]:
    """A maker of detectors, one for each account, that share one secret.

    Raises:
        UsageError: the domain is not finite.
    """
    secret = secrets.token_bytes(32)
    Fingerprints(domain, window=window)
    return lambda: Fingerprints(domain, window=window, secret=secret)
