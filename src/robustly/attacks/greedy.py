"""Greedy search in a discrete set: of the proposed moves keep the most harmful, and go on from there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.keys import fold
from robustly.core.rows import put, take
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.threats.base import Finite


@spec("attack", needs="scores")
def greedy(width: int = 64) -> Attack:
    """As many rounds as the set allows moves: ask `width` random moves a row, take the one of lowest margin.

    Where no more moves than `width` exist, a round asks all, so that in a set of one move the search is exhaustive.

    Raises:
        UsageError: width < 1, or a set that has no moves (a norm ball).
    """
    if width < 1:
        raise UsageError(f"width must be at least 1, got {width}.")

    def attack(case: Case) -> None:
        most = discrete(case).most
        z: Any = case.around.x
        for index in range(int(most.max()) if len(most) else 0):
            keep = (case.oracle.open & (discrete(case).most > index)).nonzero().squeeze(1)
            case, z = case.take(keep), take(z, keep)
            texts: Any
            texts, owner = discrete(case).moves(z, fold(case.key, index), width)
            if not len(owner):
                return
            scores, asked = case.oracle.propose(texts, owner)
            margin = case.goal.take(owner).margin(scores)
            best = lowest(torch.where(asked, margin, float("inf")).nan_to_num(float("-inf"), float("inf")), owner)
            best = best[asked[best]]
            z = put(z, owner[best], take(texts, best))

    return attack


def discrete(case: Case) -> Finite:
    """The case's set, if it is explored by moves.

    Raises:
        UsageError: it is not.
    """
    if not isinstance(case.around, Finite):
        raise UsageError(
            f"greedy explores texts by moves and {type(case.around).__name__} has none; for arrays use pgd where "
            "gradients are granted, square for scores, noise for labels."
        )
    return case.around


def lowest(value: Tensor, owner: Tensor) -> Tensor:
    """Of the entries (M,) of each owner the index of the lowest, the first where tied; one an owner, by owner."""
    order = value.argsort(stable=True)
    order = order[owner[order].argsort(stable=True)]
    first = torch.ones_like(order, dtype=torch.bool)
    first[1:] = owner[order][1:] != owner[order][:-1]
    return order[first]
