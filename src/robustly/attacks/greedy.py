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


@spec("attack", needs="scores", sets=("Finite",))
def greedy(width: int = 64) -> Attack:
    """As many rounds as the set allows moves: ask `width` moves a row, take the one of lowest margin.

    Half of them are random, the others at the place of the best of those, for where a text is edited matters more than
    what is written there. Where no more than half the width exist, a round asks all, so that in a set of one move the
    search is exhaustive.

    Raises:
        UsageError: width < 2, or a set that has no moves (a norm ball).
    """
    if width < 2:
        raise UsageError(f"width must be at least 2, got {width}.")

    def attack(case: Case) -> None:
        most = discrete(case).most
        z: Any = case.around.x
        for index in range(int(most.max()) if len(most) else 0):
            keep = (case.oracle.open & (discrete(case).most > index)).nonzero().squeeze(1)
            case, z = case.take(keep), take(z, keep)
            if not len(keep):
                return
            z = best_move(case, z, fold(case.key, index), width)

    return attack


def best_move(case: Case, z: Any, key: Tensor, width: int) -> Any:
    """The lowest of `width` moves a row, z where there is none that could be asked."""
    around, wide = discrete(case), width - width // 2
    texts, owner = around.moves(z, fold(key, 0), wide)
    first, margin = lowest(case, z, texts, owner)
    more = torch.bincount(owner, minlength=len(z)) == wide  # fewer: that was all there is
    rows = more.nonzero().squeeze(1)
    texts, at = around.take(rows).beside(take(z, rows), take(first, rows), fold(key[rows], 1), width // 2)
    second, other = lowest(case, z, texts, rows[at])
    rows = (other < margin).nonzero().squeeze(1)
    return put(first, rows, take(second, rows))


def lowest(case: Case, z: Any, texts: Any, owner: Tensor) -> tuple[Any, Tensor]:
    """The candidate of lowest margin a row (the first if tied) and its margin (B,); z and inf where none was asked."""
    out = torch.full((len(z),), float("inf"), dtype=torch.float64)
    scores, asked = case.oracle.propose(texts, owner)
    index = asked.nonzero().squeeze(1)
    if not len(index):
        return z, out
    owner = owner[index]
    margin = case.goal.take(owner).margin(scores[index]).double().nan_to_num(float("-inf"))
    out = out.scatter_reduce(0, owner, margin, "amin")
    hit = (margin == out[owner]).nonzero().squeeze(1).flip(0)  # the first is written last
    first = dict(zip(owner[hit].tolist(), index[hit].tolist(), strict=True))
    rows, chosen = torch.tensor(list(first)), torch.tensor(list(first.values()))
    return put(z, rows, take(texts, chosen)), out


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
