"""An ensemble of decision trees as a sum over leaves, for certifiers: every leaf a box of inputs and what it adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from robustly.oracle.model import Model


@dataclass(frozen=True)
class Trees:
    """Scores of an ensemble: at z, base plus the values of the leaves that z falls into, one a tree.

    low, high: float32 (L, D); leaf l holds where low < z <= high in each of the D features. Comparisons of any kind
    (<, <=, in float32 or float64) are this one, since inputs are float32: see `adapters.trees.nodes`. tree: int64 (L,), which
    tree a leaf is of, rising; the leaves of one tree cover all inputs once. value: float64 (L, K). base: float64 (K,).
    error: how far, at most, the difference of two scores as the model computes them lies from the exact one. log: the model
    answers logarithms of these scores, which are probabilities.
    """

    low: np.ndarray
    high: np.ndarray
    tree: np.ndarray
    value: np.ndarray
    base: np.ndarray
    error: float
    log: bool = False
    kind: ClassVar[str] = "trees"

    @property
    def features(self) -> int:
        """D."""
        return self.low.shape[1]

    def scores(self, z: np.ndarray) -> np.ndarray:
        """Exact but for float64: (B, K) at float32 z (B, D)."""
        inside = [((self.low < row) & (row <= self.high)).all(1) for row in z]
        return np.stack([self.base + self.value[rows].sum(0) for rows in inside])


def at_most(threshold: np.ndarray) -> np.ndarray:
    """The largest float32 that is <= a float64: of float32 inputs the same ones go left."""
    wide = np.asarray(threshold, dtype=np.float64)
    with np.errstate(over="ignore"):
        near = wide.astype(np.float32)
    return np.where(near.astype(np.float64) > wide, np.nextafter(near, np.float32(-np.inf)), near)


def trees_of(model: Model) -> Trees | None:
    """The trees behind a model, if it is made of them."""
    return model.structure if isinstance(model.structure, Trees) else None
