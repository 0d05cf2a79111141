"""The detectors that can be put before a served model, calibrated on clean inputs."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from robustly.adapters.data import Data
from robustly.core.errors import UsageError
from robustly.defend.fingerprints import fingerprints
from robustly.defend.guarded import Detector
from robustly.defend.nearest import RATE, K, nearest_queries
from robustly.defend.similarity import similarity
from robustly.threats.base import Domain

DETECTORS = ("nearest", "similarity", "fingerprints")
"""The nearest past queries as numbers; the same in a space learnt from the clean inputs; hashed windows (Blacklight)."""


def watch_of(name: str, clean: Data, domain: Domain, rate: float = RATE) -> Callable[[], Detector]:
    """A maker of detectors, one for each account. clean: what honest clients ask. rate: of it, the share that may be flagged.

    Raises:
        UsageError: an unknown name, texts, or too few inputs for a threshold.
    """
    if name not in DETECTORS:
        raise UsageError(f'"{name}" is no detector; there are {", ".join(DETECTORS)}.')
    if not isinstance(clean.x, Tensor):
        raise UsageError("the stateful defence measures distances of numbers, and these data are texts.")
    if name == "fingerprints":
        return fingerprints(domain)
    if name == "similarity":
        return nearest_queries(clean.x, similarity(clean.x), K, rate)
    return nearest_queries(clean.x, k=K, rate=rate)
