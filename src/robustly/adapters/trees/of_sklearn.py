"""Trees of scikit-learn: single ones, forests, and both kinds of gradient boosting."""

from __future__ import annotations

from typing import Any

import numpy as np

from robustly.adapters.trees.nodes import Tree, Unreadable, assembled, at_most
from robustly.oracle.trees import Trees

UNIT = 2.0**-53


def read(estimator: Any) -> Trees:
    """The trees of a fitted classifier.

    Raises:
        Unreadable: it has none (with no reason), or ones that are not read here.
    """
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        GradientBoostingClassifier,
        HistGradientBoostingClassifier,
        RandomForestClassifier,
    )
    from sklearn.tree import DecisionTreeClassifier

    if isinstance(estimator, DecisionTreeClassifier):
        return _averaged([estimator])
    if isinstance(estimator, RandomForestClassifier | ExtraTreesClassifier):
        return _averaged(estimator.estimators_)
    if isinstance(estimator, GradientBoostingClassifier):
        return _boosted(estimator)
    if isinstance(estimator, HistGradientBoostingClassifier):
        return _histogram(estimator)
    raise Unreadable


def _averaged(trees: list[Any]) -> Trees:
    """The mean of the classes' shares in the leaves; the model answers their logarithms."""
    made = []
    for one in trees:
        t = one.tree_
        shares = t.value[:, 0, :]
        made.append(_tree(t, shares / shares.sum(1, keepdims=True)))
    classes = made[0].value.shape[1]
    return assembled(made, trees[0].n_features_in_, np.zeros(classes), UNIT, log=True, scale=1 / len(trees))


def _boosted(estimator: Any) -> Trees:
    """Raw scores: a constant and, by column, the trees at the learning rate."""
    from sklearn.dummy import DummyClassifier

    if not (isinstance(estimator.init_, DummyClassifier) or estimator.init_ == "zero"):
        raise Unreadable(f"they begin from a {type(estimator.init_).__name__}")
    features = estimator.n_features_in_
    base = np.ravel(estimator._raw_predict_init(np.zeros((1, features), dtype=np.float32)))
    stages = estimator.estimators_
    made = [
        _tree(one.tree_, raised(one.tree_.value[:, 0, 0], k, stages.shape[1]))
        for row in stages
        for k, one in enumerate(row)
    ]
    return assembled(made, features, constant(base), UNIT, scale=estimator.learning_rate)


def _histogram(estimator: Any) -> Trees:
    if getattr(estimator, "is_categorical_", None) is not None:
        raise Unreadable("they split by category")
    made = []
    for row in estimator._predictors:
        for k, one in enumerate(row):
            n = one.nodes
            leaf = n["is_leaf"].astype(bool)
            left, right = (np.where(leaf, -1, n[side].astype(np.int64)) for side in ("left", "right"))
            value = raised(n["value"].astype(np.float64), k, len(row))
            made.append(Tree(left, right, n["feature_idx"].astype(np.int64), at_most(n["num_threshold"]), value))
    return assembled(made, estimator.n_features_in_, constant(np.ravel(estimator._baseline_prediction)), UNIT)


def _tree(t: Any, value: np.ndarray) -> Tree:
    return Tree(t.children_left, t.children_right, t.feature, at_most(t.threshold), value)


def raised(value: np.ndarray, column: int, columns: int) -> np.ndarray:
    """Values (N,) of one column of raw scores as (N, K); a single column v is that of two classes, -v/2 and v/2."""
    if columns == 1:
        return np.stack((-value / 2, value / 2), 1)
    out = np.zeros((len(value), columns))
    out[:, column] = value
    return out


def constant(value: np.ndarray) -> np.ndarray:
    """The constants of the columns as those of the classes (K,)."""
    return value if len(value) > 1 else np.array([-value[0] / 2, value[0] / 2])
