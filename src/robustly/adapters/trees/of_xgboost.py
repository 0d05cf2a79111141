"""Trees of XGBoost, which reads inputs as float32, goes left by <, and sums in float32."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from robustly.adapters.trees.nodes import Tree, Unreadable, assembled, below
from robustly.adapters.trees.of_sklearn import raised
from robustly.oracle.trees import Trees

UNIT = 2.0**-24
RAW, HALF = "binary:logitraw", 0.5
"""An objective whose margins XGBClassifier takes for probabilities: it predicts the second class of those above a half."""


def raw_scores(estimator: Any) -> Callable[[Any], np.ndarray]:
    """How its margins are asked: as float32, before the softmax, which would round small differences away."""
    middle = HALF if estimator.get_params().get("objective") == RAW else 0.0

    def scores(x: Any) -> np.ndarray:
        found = estimator.predict(np.asarray(x, dtype=np.float32), output_margin=True)
        return np.asarray(found, dtype=np.float64) - middle

    return scores


def read(estimator: Any) -> Trees:
    """The trees of a fitted XGBClassifier, those up to its best iteration.

    Raises:
        Unreadable: another booster than trees, splits by category, another mark of missing values than NaN.
    """
    missing = estimator.get_params().get("missing", math.nan)
    if missing is not None and not math.isnan(missing):
        raise Unreadable(f"they take {missing:g} for a missing value")
    booster = estimator.get_booster()
    best = _best(estimator)
    content = json.loads(bytes((booster if best is None else booster[: best + 1]).save_raw("json")))["learner"]
    model = content["gradient_booster"]
    if model.get("name") not in ("gbtree", "dart"):
        raise Unreadable(f"its booster is {model.get('name')}, not gbtree or dart")
    grown = model if model["name"] == "gbtree" else model["gbtree"]
    trees, columns_of = grown["model"]["trees"], grown["model"]["tree_info"]
    factors = model.get("weight_drop", [1.0] * len(trees))
    if not content["objective"]["name"].startswith(("binary:", "multi:")):
        raise Unreadable(f"its objective is {content['objective']['name']}")
    columns = max(1, int(content["learner_model_param"]["num_class"]))
    made = [
        _tree(tree, column, columns, float(np.float32(factor)))
        for tree, column, factor in zip(trees, columns_of, factors, strict=True)
    ]
    base = _base(content, columns)
    return assembled(made, int(content["learner_model_param"]["num_feature"]), base, UNIT)


def _best(estimator: Any) -> int | None:
    """The iteration that early stopping chose, if there was any."""
    try:
        return int(estimator.best_iteration)
    except AttributeError:
        return None


def _tree(tree: dict[str, Any], column: int, columns: int, factor: float) -> Tree:
    if any(tree.get("split_type", [])):
        raise Unreadable("they split by category")
    if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
        raise Unreadable("their leaves are vectors")
    left, right, feature = (
        np.array(tree[k], dtype=np.int64) for k in ("left_children", "right_children", "split_indices")
    )
    condition = np.array(tree["split_conditions"], dtype=np.float32)
    return Tree(left, right, feature, below(condition), raised(factor * condition.astype(np.float64), column, columns))


def _base(content: dict[str, Any], columns: int) -> np.ndarray:
    """The constant, in raw scores (K,): that of two classes is kept as a probability, from which it is made in float32."""
    said = json.loads(content["learner_model_param"]["base_score"])
    values = np.array(said if isinstance(said, list) else [said] * columns, dtype=np.float64)
    if columns > 1:
        return values if len(values) == columns else np.full(columns, values[0])
    if content["objective"]["name"] == "binary:logistic":
        one, p = np.float32(1), np.float32(values[0])
        v = -math.log(float(one / p - one))
    else:
        v = float(values[0]) - (HALF if content["objective"]["name"] == RAW else 0.0)
    return np.array([-v / 2, v / 2])
