"""From nodes to leaves, with every comparison made one of float32 numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from robustly.oracle.trees import Trees, at_most

LARGEST = 2**26
"""Most numbers in the table of leaves: 256 MB for its two sides."""


__all__ = ["Tree", "Unreadable", "assembled", "at_most", "below"]


class Unreadable(Exception):  # noqa: N818 - why there is no structure; becomes a note, and empty says nothing
    """Something about these trees that is not read here."""


class Tree(NamedTuple):
    """One tree. left, right: int (N,), children; a leaf's are negative. feature: int (N,). cut: float32 (N,): inputs up to
    the cut go left. value: float64 (N, K), of leaves."""

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    cut: np.ndarray
    value: np.ndarray


def below(threshold: np.ndarray) -> np.ndarray:
    """The largest float32 that is < a float32, for trees that compare by <."""
    return np.nextafter(np.asarray(threshold, dtype=np.float32), np.float32(-np.inf))


def assembled(
    trees: Sequence[Tree], features: int, base: np.ndarray, unit: float, log: bool = False, scale: float = 1.0
) -> Trees:
    """An ensemble of trees. unit: the rounding of the type that the model sums leaves in, 2^-53 or 2^-24. scale: of every
    value.

    The computed sum of T leaves and a base, in any order, is off by at most about (T + 2) u sum |v| (Higham 2002, section
    3.1); twice that, once for each of the two scores of a margin, and twice for safety.

    Raises:
        Unreadable: the table of leaves would be too large.
    """
    if sum(int((t.left < 0).sum()) for t in trees) * features > LARGEST:
        raise Unreadable("they have too many leaves for so many features")
    tables = [_leaves(tree, features) for tree in trees]
    value = [scale * tree.value[nodes] for tree, (_, _, nodes) in zip(trees, tables, strict=True)]
    largest = sum(float(np.abs(v).max(initial=0)) for v in value) + float(np.abs(base).max(initial=0))
    return Trees(
        low=np.concatenate([low for low, _, _ in tables]),
        high=np.concatenate([high for _, high, _ in tables]),
        tree=np.repeat(np.arange(len(trees)), [len(v) for v in value]),
        value=np.concatenate(value),
        base=np.asarray(base, dtype=np.float64),
        error=4 * (len(trees) + 2) * unit * largest,
        log=log,
    )


def _leaves(tree: Tree, features: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes low < z <= high, float32 (L, D), and the nodes of the leaves that inputs can reach."""
    everything = np.full(features, np.inf, dtype=np.float32)
    lows, highs, nodes = [], [], []
    waiting = [(0, -everything, everything)]
    while waiting:
        node, low, high = waiting.pop()
        if tree.left[node] < 0:
            lows.append(low)
            highs.append(high)
            nodes.append(node)
            continue
        f, cut = tree.feature[node], tree.cut[node]
        if cut < high[f]:
            beyond = low.copy()
            beyond[f] = max(cut, low[f])
            waiting.append((int(tree.right[node]), beyond, high))
        if cut > low[f]:
            within = high.copy()
            within[f] = min(cut, high[f])
            waiting.append((int(tree.left[node]), low, within))
    return np.stack(lows), np.stack(highs), np.array(nodes)
