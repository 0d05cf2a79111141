"""SimBA along directions in which a surrogate's output moves most."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.goals import Goal
from robustly.losses import margin
from robustly.oracle import Model
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case, Start, by_radius, clean
from robustly.steps.counts import at_least_one
from robustly.steps.keyed import Keyed, keyed
from robustly.steps.surrogates import refuse_blind, slope
from robustly.steps.transforms import walkable
from robustly.steps.walk import positive, rows_of, still_open


class Best(NamedTuple):
    """The best point so far (B, ...), its value (B,), and points asked so far, int64 (B,)."""

    z: Tensor
    value: Tensor
    spent: Tensor


@spec(
    "attack",
    paper="Tashiro, Song & Ermon 2020, arXiv:2003.06878, algorithm 3 (SimBA-ODS)",
    needs="scores",
    sets=("LinfBall", "L2Ball"),
    elsewhere=True,
)
def simba_ods(
    surrogate: Model, queries: int = 2000, size: float = 0.1, loss: Loss = margin, start: Start = clean
) -> Attack:
    """Try a step one way, else the other, and keep what raises the loss; the ways are those that change a surrogate's scores.

    A way is the gradient of <w, F(z)> for the surrogate's scores F and weights w drawn uniform in [-1, 1] (eq. 2). The paper
    walks under l2; under linf the step is along the gradient's sign. The surrogate's passes are free.

    Args:
        surrogate: a model of the same inputs that gives gradients; an ensemble is one too.
        queries: points asked an example, the most.
        size: of a step, as a fraction of eps.
        loss: what must rise.
        start: where; from_surrogate(...) begins at a transferred point.

    Raises:
        UsageError: queries < 1, size not above 0, a surrogate without gradients; when it runs, an infinite eps.
    """
    refuse_blind(surrogate)
    positive(size, "size")
    at_least_one((queries, "queries"))

    def attack(case: Case) -> None:
        z = walkable(case).project(start(case))  # type: ignore[arg-type]
        best = Best(z, loss(case.oracle.scores(z), case.goal), torch.ones_like(case.key[:, 0]))
        for turn in range(queries):  # a step asks once at least
            case, best = still_open(case, best)
            able = (best.spent < queries).nonzero().squeeze(1)
            if len(able) < len(best.spent):
                case, best = case.take(able), rows_of(best, able)
            if not len(case.key):
                return
            best = step(case, best, turn)

    def step(case: Case, best: Best, turn: int) -> Best:
        goal = keyed(case.goal, keys.fold(case.key, turn))
        way = walkable(case).steepest(slope(surrogate, case, best.z, weighted, goal))
        way = by_radius(size).update(case, (), way)[0]
        open_ = torch.ones_like(best.spent, dtype=torch.bool)
        for sign in (1, -1):
            where = open_ & (best.spent < queries)
            z = walkable(case).project(best.z + sign * way)
            value = loss(case.oracle.scores(z, where), case.goal)
            better = where & (value > best.value)
            best = Best(
                torch.where(column(better, z), z, best.z),
                torch.where(better, value, best.value),
                best.spent + where,
            )
            open_ = open_ & ~better
        return best

    return attack


def weighted(scores: Tensor, goal: Goal) -> Tensor:
    """The sum of the scores (B, K), each times its own weight drawn uniform in [-1, 1]."""
    assert isinstance(goal, Keyed)
    weights = 2 * keys.uniform(goal.drawn, scores.shape[1:]).to(scores) - 1
    return (weights * scores).sum(1)
