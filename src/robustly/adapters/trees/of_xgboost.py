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


def raw_scores(estimator: Any) -> Callable[[Any], np.ndarray]:
    """How its margins are asked: as float32, before the softmax, which would round small differences away."""
    return lambda x: np.asarray(
        estimator.predict(np.asarray(x, dtype=np.float32), output_margin=True), dtype=np.float64
    )


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
    if content["gradient_booster"].get("name") != "gbtree":
        raise Unreadable(f"its booster is {model.get('name')}, not gbtree")
    if not content["objective"]["name"].startswith(("binary:", "multi:")):
        raise Unreadable(f"its objective is {content['objective']['name']}")
    columns = max(1, int(content["learner_model_param"]["num_class"]))
    made = [
        _tree(tree, column, columns)
        for tree, column in zip(model["model"]["trees"], model["model"]["tree_info"], strict=True)
    ]
    base = _base(content, columns)
    return assembled(made, int(content["learner_model_param"]["num_feature"]), base, UNIT)


def _best(estimator: Any) -> int | None:
    """The iteration that early stopping chose, if there was any."""
    try:
        return int(estimator.best_iteration)
    except AttributeError:
        return None


def _tree(tree: dict[str, Any], column: int, columns: int) -> Tree:
    if any(tree.get("split_type", [])):
        raise Unreadable("they split by category")
    if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
        raise Unreadable("their leaves are vectors")
    left, right, feature = (
        np.array(tree[k], dtype=np.int64) for k in ("left_children", "right_children", "split_indices")
    )
    condition = np.array(tree["split_conditions"], dtype=np.float32)
    return Tree(left, right, feature, below(condition), raised(condition.astype(np.float64), column, columns))


def _base(content: dict[str, Any], columns: int) -> np.ndarray:
    """The constant, in raw scores (K,): that of two classes is kept as a probability."""
    said = json.loads(content["learner_model_param"]["base_score"])
    values = np.array(said if isinstance(said, list) else [said] * columns, dtype=np.float64)
    if columns > 1:
        return values if len(values) == columns else np.full(columns, values[0])
    logistic = content["objective"]["name"] in ("binary:logistic", "binary:logitraw")
    v = math.log(values[0] / (1 - values[0])) if logistic else float(values[0])
    return np.array([-v / 2, v / 2])
