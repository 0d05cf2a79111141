"""Trees of LightGBM, which compares and sums in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from robustly.adapters.trees.nodes import Tree, Unreadable, assembled, at_most, below
from robustly.adapters.trees.of_sklearn import raised
from robustly.oracle.trees import Trees

UNIT = 2.0**-53
ZERO = np.float32(1e-35)
"""Inputs up to this size are read as 0."""


def raw_scores(estimator: Any) -> Callable[[Any], np.ndarray]:
    """How its raw scores are asked."""
    booster = estimator.booster_
    return lambda x: np.asarray(booster.predict(np.asarray(x, dtype=np.float64), raw_score=True), dtype=np.float64)


def read(estimator: Any) -> Trees:
    """The trees of a fitted LGBMClassifier, those up to its best iteration.

    Raises:
        Unreadable: splits by category, zeros taken for missing, linear leaves, averaged outputs.
    """
    content = estimator.booster_.dump_model()
    if content.get("average_output"):
        raise Unreadable("their outputs are averaged (boosting_type rf)")
    columns = int(content["num_tree_per_iteration"])
    made = [_tree(t["tree_structure"], i % columns, columns) for i, t in enumerate(content["tree_info"])]
    return assembled(made, int(content["max_feature_idx"]) + 1, np.zeros(max(columns, 2)), UNIT)


def _tree(root: dict[str, Any], column: int, columns: int) -> Tree:
    nodes = list(_walk(root))
    place = {id(node): i for i, node in enumerate(nodes)}
    left, right, feature = (np.full(len(nodes), -1, dtype=np.int64) for _ in range(3))
    cut, value = np.zeros(len(nodes)), np.zeros(len(nodes))
    for i, node in enumerate(nodes):
        if "left_child" not in node:
            if node.get("leaf_features"):
                raise Unreadable("their leaves are linear")
            value[i] = node["leaf_value"]
            continue
        if node["decision_type"] != "<=":
            raise Unreadable("they split by category")
        if node["missing_type"] == "Zero":
            raise Unreadable("they take 0 for a missing value")
        left[i], right[i] = place[id(node["left_child"])], place[id(node["right_child"])]
        feature[i], cut[i] = node["split_feature"], node["threshold"]
    return Tree(left, right, feature, _cut(cut), raised(value, column, columns))


def _cut(threshold: np.ndarray) -> np.ndarray:
    """The largest float32 that goes left, where what is nearly 0 goes the way of 0."""
    cut = at_most(threshold)
    return np.where(threshold >= 0, np.maximum(cut, ZERO), np.minimum(cut, below(np.array(-ZERO))))


def _walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for side in ("left_child", "right_child"):
        if side in node:
            yield from _walk(node[side])
