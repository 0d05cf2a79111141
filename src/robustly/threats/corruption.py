"""Common corruptions as a worst case: every kind at every severity up to eps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from robustly.core.errors import UsageError, nearest
from robustly.core.rows import Batch
from robustly.threats.base import Domain
from robustly.threats.corruptions import KINDS
from robustly.threats.enumerated import Change, Enumerated
from robustly.threats.images import count, image_batch, plain

WORST = 5


@dataclass(frozen=True)
class Corrupt:
    """One corruption at a severity from 1 to `eps`, at most 5: Corrupt(3), or Corrupt(5, ("fog", "jpeg")).

    Hendrycks & Dietterich 2019, arXiv:1903.12261; `threats.corruptions` says which kinds there are and how they differ.
    Nothing is drawn: noise and fog are the same for all images of a shape. Distance is the severity.
    """

    eps: float
    kinds: tuple[str, ...] = tuple(KINDS)

    def __post_init__(self) -> None:
        """Refuse unknown kinds and severities."""
        object.__setattr__(self, "eps", float(count(self.eps, "severity of corrupt", WORST)))
        kinds = (self.kinds,) if isinstance(self.kinds, str) else tuple(self.kinds)
        for kind in kinds:
            if kind not in KINDS:
                raise UsageError(f'unknown corruption "{kind}".{nearest(kind, KINDS)}')
        if not kinds or len(set(kinds)) < len(kinds):
            raise UsageError(f"corrupt takes some kinds, each once: {', '.join(KINDS)}; got {kinds}.")
        object.__setattr__(self, "kinds", kinds)

    def at(self, x: Batch, domain: Domain = Domain()) -> Enumerated:  # noqa: B008 - frozen
        x = image_batch(x, domain, str(self))
        if x.shape[1] not in (1, 3):
            raise UsageError(f"{self} is for grey or RGB images (1 or 3 channels first), got {tuple(x.shape[1:])}.")
        changes = [
            Change(float(s), f"{kind} {s}", partial(KINDS[kind], severity=s))
            for s in range(1, int(self.eps) + 1)
            for kind in self.kinds
        ]
        return Enumerated(x, domain, tuple(changes))

    def __str__(self) -> str:
        return ",".join([f"corrupt:{plain(self.eps)}", *(() if self.kinds == tuple(KINDS) else self.kinds)])
