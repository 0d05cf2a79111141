"""Pointwise: put one coordinate after the other back, by labels alone, while the point stays adversarial."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.keys import fold, uniform
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.counts import at_least_one
from robustly.steps.footholds import foothold
from robustly.steps.outset import going
from robustly.steps.spending import purse
from robustly.steps.widths import room
from robustly.threats.l0 import L0Ball


class Round(NamedTuple):
    """Where each row stands: x, z (B, n), the input and the point; order (B, n), its places, the changed ones first; changes, how
    many these are; at, how many places it has tried; since, how many of them since its last success: all int64 (B,)."""

    x: Tensor
    z: Tensor
    order: Tensor
    changes: Tensor
    at: Tensor
    since: Tensor


@spec("attack", paper="Schott et al. 2018, arXiv:1805.09190, section 4", needs="labels", sets=("L0Ball",))
def pointwise(queries: int = 1000, tries: int = 100, pool: Tensor | None = None) -> Attack:
    """Undo the changes of a point one at a time, in random order, and keep what still meets the goal, until none can go.

    It begins at the point that the ledger already has, so `in_turn(sigma_zero(), pointwise())` spends a query a change
    on thinning out; else at one of `pool`, else at a random point. Every example has an order of its own. At the end no single change
    can be undone; the paper's second part, a search over the values for l2, is left out: l0 does not ask for it.

    Args:
        queries: hard bound on the points asked an example, those of the start included.
        tries: most points asked for a start.
        pool: other examples to start from, (P, ...).

    Raises:
        UsageError: queries or tries < 1; when it runs, a set that isn't an l0 ball, an unbounded domain, or a pool of another shape
            or range.
    """
    at_least_one((queries, "queries"), (tries, "tries"))

    def attack(case: Case) -> None:
        space = room(case, "pointwise", (L0Ball,))
        shape, budget = space.x.shape[1:], purse(case, queries)
        z, _ = foothold(case._replace(key=fold(case.key, 0)), space, min(tries, queries), pool)
        x, z = space.x.flatten(1), z.flatten(1)
        order, count = shuffled(case.key, x, z)
        state = Round(x, z, order, count, torch.zeros_like(count), torch.zeros_like(count))
        while True:
            case, state, budget = going(case, state, budget, state.since < state.changes)
            if not len(budget):
                return
            state = undone(case, state, shape)

    return attack


def shuffled(key: Tensor, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """The changed places of each row in random order, then the others, (B, n), and how many are changed, (B,)."""
    changed = z != x
    rank = torch.where(changed, uniform(fold(key, 1), x.shape[1:]), 2.0)
    return rank.argsort(dim=1, stable=True), changed.sum(1)


def undone(case: Case, state: Round, shape: torch.Size) -> Round:
    """The next change of each row is undone where the goal is met without it; a row that had none to undo for a whole round
    ends."""
    x, z, order, count, at, since = state
    place = order.gather(1, (at % count)[:, None])
    back = z.scatter(1, place, x.gather(1, place))
    gone = (back == z).all(1)  # undone in an earlier round
    rows = (~gone).nonzero().squeeze(1)
    met = torch.zeros_like(gone)
    if len(rows):
        met[rows] = case.oracle.hits(back[rows].reshape(-1, *shape), rows).met
    z = torch.where(met[:, None], back, z)
    return Round(x, z, order, count, at + 1, torch.where(met, 0, since + 1))
