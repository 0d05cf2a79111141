"""Ensembles of trees as certifiers read them: of scikit-learn, XGBoost and LightGBM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from robustly.adapters.trees.nodes import Unreadable
from robustly.oracle.trees import Trees


class Grown(NamedTuple):
    """trees: as read, or None; note: why not, "" where nothing is to be said. scores: how raw scores are asked, from rows to
    float64 (B, K) or (B,) of two classes; None where the estimator is asked as any other of scikit-learn."""

    trees: Trees | None
    note: str = ""
    scores: Callable[[Any], np.ndarray] | None = None


def grown(estimator: Any) -> Grown:
    """What can be read of a fitted classifier; of one that isn't made of trees, nothing."""
    root = type(estimator).__module__.split(".")[0]
    scores = None
    try:
        if root == "xgboost":
            from robustly.adapters.trees.of_xgboost import raw_scores, read

            scores = raw_scores(estimator)
        elif root == "lightgbm":
            from robustly.adapters.trees.of_lightgbm import raw_scores, read

            scores = raw_scores(estimator)
        elif root == "sklearn":
            from robustly.adapters.trees.of_sklearn import read
        else:  # a subclass of another's, too: what it makes of its trees isn't known
            return Grown(None)
        return Grown(read(estimator), "", scores)
    except Unreadable as error:
        return Grown(None, f"its trees have no certificate: {error}" if str(error) else "", scores)
