"""Branch and bound on the inputs: a complete search for networks of some fifty inputs at most.

Bunel et al. 2020, "Branch and Bound for Piecewise Linear Neural Network Verification", with input domains as the branches. A box
is cut where its linear bound says that the width of an input costs most; the worst boxes are cut first, many at a time. Whoever
asks for it also looks at points inside the boxes, which is where counterexamples of narrow regions turn up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from robustly.certify.questions import Bounded, Bounder, Questions
from robustly.core.errors import UsageError

Look: TypeAlias = Callable[[Tensor, Tensor], bool]
"""Given points (M, n) float64 and the question each belongs to (M,): has a counterexample been found? Then the search ends."""

NARROW = 2.0**-30
"""A box whose every side is below this share of its root's is not cut further."""


class Searched(NamedTuple):
    """How a complete search ended.

    end: "proven": no question has a yes; "found": `look` was content; "time"; "stuck": boxes that are too narrow to cut, or too
    many. proven: bool (Q,). boxes: how many were bounded. open: how many are left. worst: the lowest bound among those.
    """

    end: Literal["proven", "found", "time", "stuck"]
    proven: Tensor
    boxes: int
    open: int
    worst: float


class _Pool(NamedTuple):
    """Boxes that are still open: whose they are, their bound, and what each input's width costs."""

    owner: Tensor
    lower: Tensor
    upper: Tensor
    score: Tensor
    cost: Tensor

    def take(self, index: Tensor) -> _Pool:
        return _Pool(*(t[index] for t in self))


def split_inputs(
    questions: Questions,
    bound: Bounder,
    look: Look,
    over: Callable[[], bool],
    *,
    batch: int = 512,
    most: int = 1_000_000,
) -> Searched:
    """Prove all questions, find a counterexample, or run out of time.

    over: asked between batches whether the time is up. batch: boxes bounded at once. most: boxes kept open.

    Raises:
        UsageError: batch < 2 or most < batch.
    """
    if batch < 2 or most < batch:
        raise UsageError(f"batch must be at least 2 and most at least as much, got {batch} and {most}.")
    root = questions.upper - questions.lower
    everything = torch.arange(len(questions))
    pool, visited = _bounded(questions, bound, everything, questions.lower, questions.upper), len(questions)
    stuck = 0
    stuck_owners = torch.zeros(len(questions), dtype=torch.bool)
    worst_stuck = torch.inf
    if _looked(pool, look):
        return _ended("found", questions, pool, stuck_owners, visited, stuck, worst_stuck)
    while len(pool.owner):
        if over():
            return _ended("time", questions, pool, stuck_owners, visited, stuck, worst_stuck)
        if len(pool.owner) > most:
            return _ended("stuck", questions, pool, stuck_owners, visited, stuck, worst_stuck)
        now, pool = _chosen(pool, batch // 2)
        able = ((now.upper - now.lower) > NARROW * root[now.owner]).any(1)
        if not bool(able.all()):
            lost = now.take((~able).nonzero().squeeze(1))
            stuck += len(lost.owner)
            stuck_owners[lost.owner] = True
            worst_stuck = min(worst_stuck, float(lost.score.min()))
            now = now.take(able.nonzero().squeeze(1))
            if not len(now.owner):
                continue
        owner, lower, upper = _halved(now, batch)
        visited += len(owner)
        fresh = _bounded(questions, bound, owner, lower, upper)
        if len(fresh.owner) and _looked(fresh, look):
            return _ended("found", questions, fresh, stuck_owners, visited, stuck, worst_stuck)
        pool = _Pool(*(torch.cat(pair) for pair in zip(pool, fresh, strict=True)))
    end = "stuck" if stuck else "proven"
    return _ended(end, questions, pool, stuck_owners, visited, stuck, worst_stuck)


def _bounded(questions: Questions, bound: Bounder, owner: Tensor, lower: Tensor, upper: Tensor) -> _Pool:
    """Those of these boxes that are still open, with their bounds. A box is closed where any single row is out of reach."""
    found = bound(Questions(lower, upper, questions.rows[owner], questions.offsets[owner]))
    score, best = found.least.max(1)
    cost = _costs(found, best, upper - lower)
    open_ = (~(score > 0)).nonzero().squeeze(1)
    return _Pool(owner, lower, upper, score, cost).take(open_)


def _costs(found: Bounded, best: Tensor, width: Tensor) -> Tensor:
    """What the width of each input costs in the row that is nearest to being out of reach (N, n)."""
    if found.slopes is None:
        return width
    slope = found.slopes.gather(1, best[:, None, None].expand(-1, 1, width.shape[1])).squeeze(1)
    cost = slope.abs() * width
    return torch.where(torch.isfinite(cost).all(1, keepdim=True), cost, width) + 1e-9 * width


def _chosen(pool: _Pool, count: int) -> tuple[_Pool, _Pool]:
    """The worst boxes, and the rest."""
    if len(pool.owner) <= count:
        return pool, pool.take(torch.arange(0))
    order = pool.score.argsort(stable=True)
    return pool.take(order[:count]), pool.take(order[count:])


def _halved(now: _Pool, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Each box cut in half where it costs most; few boxes are cut along several inputs at once, so as to fill a batch."""
    owner, lower, upper = now.owner, now.lower, now.upper
    cuts = max(1, min(3, int(batch / max(2 * len(owner), 1)).bit_length() - 1, lower.shape[1]))
    axes = now.cost.topk(cuts, dim=1).indices
    for k in range(cuts):
        axis = axes[:, k : k + 1]
        low, high = lower.gather(1, axis), upper.gather(1, axis)
        middle = low + (high - low) / 2
        owner = torch.cat((owner, owner))
        axes = torch.cat((axes, axes))
        upper, lower = (
            torch.cat((upper.scatter(1, axis, middle), upper)),
            torch.cat((lower, lower.scatter(1, axis, middle))),
        )
    return owner, lower, upper


def _looked(pool: _Pool, look: Look) -> bool:
    return look(pool.lower + (pool.upper - pool.lower) / 2, pool.owner) if len(pool.owner) else False


def _ended(
    end: Literal["proven", "found", "time", "stuck"],
    questions: Questions,
    pool: _Pool,
    stuck_owners: Tensor,
    visited: int,
    stuck: int,
    worst: float,
) -> Searched:
    proven = ~stuck_owners
    proven[pool.owner] = False
    low = min([worst, *pool.score.tolist()[:1], float(pool.score.min()) if len(pool.score) else torch.inf])
    return Searched(end, proven, visited, stuck + len(pool.owner), low)
