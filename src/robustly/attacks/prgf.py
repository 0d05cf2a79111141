"""Gradients guessed from scores, with a surrogate's gradient as a prior."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.keys import fold
from robustly.core.rows import column, spread
from robustly.core.specs import spec
from robustly.losses import margin
from robustly.oracle import Model
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case, Start, by_radius, clean
from robustly.steps.counts import at_least_one
from robustly.steps.surrogates import along, length, refuse_blind, slope, unit_normal
from robustly.steps.transforms import walkable
from robustly.steps.views import width
from robustly.steps.walk import positive, rows_of, still_open

NORMS, EVERY, AGAIN = 10, 10, 3
"""Directions that the gradient's length is guessed from, every so many steps, and once more at that step (their code)."""


class Guess(NamedTuple):
    """z (B, ...), its loss value (B,), the gradient's length (B,) as last guessed, and points asked so far, int64 (B,)."""

    z: Tensor
    value: Tensor
    size: Tensor
    spent: Tensor


@spec(
    "attack",
    paper="Cheng, Dong, Pang, Su & Zhu 2019, arXiv:1906.06919, algorithm 1 (P-RGF, biased sampling)",
    needs="scores",
    sets=("LinfBall", "L2Ball"),
    elsewhere=True,
)
def prgf(
    surrogate: Model,
    queries: int = 2000,
    samples: int = 50,
    size: float = 0.1,
    probe: float = 1e-3,
    loss: Loss = margin,
    start: Start = clean,
) -> Attack:
    """Ascent along a gradient guessed from scores: random directions, biased towards the surrogate's gradient as it deserves.

    How much of the bias is best follows from the cosine between the two gradients, which is guessed from the slope along the
    surrogate's and the gradient's length (eq. 12 to 17); where that says so, the surrogate's is followed alone, which saves the
    samples. The surrogate's own passes are free. start = from_surrogate(...) begins at a transferred point.

    Args:
        surrogate: a model of the same inputs and classes that gives gradients.
        queries: points asked an example, the most.
        samples: directions a gradient is guessed from.
        size: of a step, as a fraction of eps.
        probe: how far each number is moved to measure a slope, on average, as a share of the width of the range.
        loss: what is climbed.
        start: where.

    Raises:
        UsageError: queries or samples < 1, size or probe not above 0, a surrogate without gradients; when it runs, an
            infinite eps.
    """
    refuse_blind(surrogate)
    positive(size, "size")
    positive(probe, "probe")
    at_least_one((queries, "queries"), (samples, "samples"))

    def attack(case: Case) -> None:
        z = walkable(case).project(start(case))  # type: ignore[arg-type]
        value = loss(case.oracle.scores(z), case.goal)
        state = Guess(z, value, torch.zeros_like(value), torch.ones_like(case.key[:, 0]))
        turn = 0
        while True:
            case, state = still_open(case, state)
            able = (state.spent < queries).nonzero().squeeze(1)
            if len(able) < len(state.spent):
                case, state = case.take(able), rows_of(state, able)
            if not len(case.key):
                return
            state = step(case._replace(key=fold(case.key, turn)), state, turn)
            turn += 1

    def step(case: Case, state: Guess, turn: int) -> Guess:
        reach = probe * width(case) * state.z[0].numel() ** 0.5
        prior = slope(surrogate, case, state.z, loss)
        if turn % EVERY == 0 or turn == AGAIN:
            state = measured(case, state, reach)
        rise, state = slopes(case, state, reach, prior[:, None], state.spent + 2 <= queries)
        cosine = torch.where(state.size > 0, rise[:, 0] / state.size.clamp_min(1e-30), 0.0)
        prior = torch.where(column(cosine < 0, prior), -prior, prior)
        share = bias(cosine.abs(), state.z[0].numel(), samples)
        share = torch.where(length(prior) > 0, share, 0.0)
        ask = (share < 1) & (state.spent + samples + 1 <= queries)
        ways = directions(fold(case.key, 1), prior, share, samples)
        rises, state = slopes(case, state, reach, ways, ask)
        guess = (rises[:, :, *(None,) * (prior.dim() - 1)] * ways).sum(1)
        follow = ask & (length(guess) > 0)
        change = walkable(case).steepest(torch.where(column(follow, prior), guess, prior))
        z = walkable(case).project(state.z + by_radius(size).update(case, (), change)[0])
        value = loss(case.oracle.scores(z), case.goal)
        return state._replace(z=z, value=value, spent=state.spent + 1)

    def measured(case: Case, state: Guess, reach: float) -> Guess:
        """The gradient's length from slopes along random directions: n times their mean square is its square (eq. 17)."""
        where = state.spent + NORMS + 2 <= queries
        ways = torch.stack([unit_normal(fold(case.key, 2, i), state.z) for i in range(NORMS)], 1)
        rises, state = slopes(case, state, reach, ways, where)
        size = (rises.square().mean(1) * state.z[0].numel()).sqrt()
        return state._replace(size=torch.where(where, size, state.size))

    def slopes(case: Case, state: Guess, reach: float, ways: Tensor, where: Tensor) -> tuple[Tensor, Guess]:
        """Slopes (B, S) of the loss at z along S directions (B, S, ...), asked of rows in `where`; 0 in the others."""
        count, rows = ways.shape[1], where.nonzero().squeeze(1)
        if not len(rows):
            return ways.flatten(2)[:, :, 0] * 0, state
        domain = case.oracle.model.domain
        points = (state.z[rows, None] + reach * ways[rows]).clamp(domain.low, domain.high).flatten(0, 1)
        owner = rows.repeat_interleave(count)
        found = case.oracle.propose(points, owner)
        rise = (loss(found.scores, case.goal.take(owner)) - state.value[owner]) / reach
        rise = torch.nan_to_num(torch.where(found.asked, rise, 0.0), nan=0.0, posinf=0.0, neginf=0.0)
        return spread(rise.view(-1, count), rows, len(where)), state._replace(spent=state.spent + count * where)

    return attack


def bias(cosine: Tensor, n: int, samples: int) -> Tensor:
    """The best share lambda* in [0, 1] of a prior whose cosine with the gradient is known, (B,) each (eq. 12).

    n: numbers of an input. samples: directions drawn.
    """
    square, reach = cosine.double().clamp(0, 1).square(), n + 2 * samples - 2
    low, high = 1 / reach, (2 * samples - 1) / reach
    over = (1 - square) * (square * reach - 1)
    under = 2 * square * n * samples - square.square() * n * reach - 1
    share = torch.where((square > low) & (square < high), over / torch.where(under == 0, 1.0, under), 0.0)
    return torch.where(square >= high, 1.0, share.clamp(0, 1)).to(cosine.dtype)


def directions(key: Tensor, prior: Tensor, share: Tensor, samples: int) -> Tensor:
    """Directions (B, samples, ...) of length 1 whose component along the prior (B, ...) is the root of the share (B,) (eq. 10)."""
    out = []
    for number in range(samples):
        free = unit_normal(fold(key, number), prior)
        free = free - column(along(free, prior), free) * prior
        free = free / column(length(free).clamp_min(1e-30), free)
        out.append(column(share.sqrt(), prior) * prior + column((1 - share).sqrt(), free) * free)
    return torch.stack(out, 1)
