"""ZOO: Carlini and Wagner's descent, one coordinate at a time, with slopes estimated from scores."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.rows import slices
from robustly.core.specs import spec
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case
from robustly.steps.counts import at_least_one
from robustly.steps.estimates import AT_ONCE
from robustly.steps.moments import FIRST, LEAST, SECOND
from robustly.steps.penalty import Weights, bisected, hinge, weights_from
from robustly.steps.walk import positive, rows_of, still_open
from robustly.steps.widths import Room, room

NEAR = 1e-3  # how far apart from z the two points are at which a slope is measured, in widths


class Descent(NamedTuple):
    """One descent; one row an example, flat. change: (B, n), in widths of the domain. first, second: (B, n), Adam's moments
    of each coordinate, and moves: (B, n), how often it moved. met: bool (B,), some change met the goal."""

    change: Tensor
    first: Tensor
    second: Tensor
    moves: Tensor
    met: Tensor


@spec("attack", paper="Chen et al. 2017, arXiv:1708.03999, algorithm 2", needs="scores", sets=("Ball",))
def zoo(
    queries: int = 10000,
    width: int = 64,
    binary_steps: int = 1,
    rate: float = 0.05,
    confidence: float = 0.0,
    initial_const: float = 10.0,
) -> Attack:
    """Zeroth-order optimisation: minimise l2 distance plus a weight times the margin by coordinate-wise Adam.

    Each move measures the slope of `width` random coordinates of the example's own, by two points a coordinate, then moves
    them all and asks the new point. Scores are taken for logits, whose differences are those of the log-probabilities that
    the paper uses. Like cw it minimises l2 whatever ball it works in, in the whole domain; the least distance is found in
    L2(inf) with an oracle that presses on. Without the paper's hierarchy of image sizes and its importance sampling. A
    surviving example costs what `costs` says of the share of each descent: at most `queries`, and no more than two fewer a
    descent.

    Args:
        queries: points asked an example, in all descents together.
        width: coordinates that move at once; the paper has 128.
        binary_steps: descents; the weight grows tenfold until one succeeds, and is then bisected; the paper has 9, which take
            hundreds of thousands of points.
        rate: of Adam, in widths of the domain; 0.01 in the paper, which takes thousands of moves.
        confidence: the margin, in scores, by which the goal should be met.
        initial_const: the first weight; 0.01 in the paper, which has more descents to raise it.

    Raises:
        UsageError: a count < 1, rate or initial_const not above 0, confidence < 0; when it runs, a set that isn't a norm
            ball or has an unbounded domain.
    """
    at_least_one((queries, "queries"), (width, "width"), (binary_steps, "binary_steps"))
    positive(rate, "rate")
    positive(initial_const, "initial_const")
    if not 0 <= confidence < float("inf"):
        raise UsageError(f"confidence must be a finite number >= 0, got {confidence:g}.")

    def attack(case: Case) -> None:
        space = room(case, "zoo")
        weights = weights_from(torch.full(case.goal.y.shape, initial_const, device=case.key.device))
        for index in range(binary_steps):
            share = queries * (index + 1) // binary_steps - queries * index // binary_steps
            case, (space, weights) = still_open(case, (space, weights))
            if not len(case.key):
                return
            case = case._replace(key=keys.fold(case.key, index))
            plan = costs(share, min(width, space.x[0].numel()))
            case, (space, weights), met = _descend(case, space, weights, plan, rate, confidence)
            weights = bisected(weights, met)

    return attack


def costs(queries: int, width: int) -> list[int]:
    """The points of each move of a descent that may ask so many: the start, then two a coordinate and one."""
    out = [min(queries, 1)]
    while queries - sum(out) >= 3:
        out.append(2 * min(width, (queries - sum(out) - 1) // 2) + 1)
    return out


def _descend(
    case: Case, space: Room, weights: Weights, plan: list[int], rate: float, confidence: float
) -> tuple[Case, tuple[Room, Weights], Tensor]:
    """One descent of moves that cost so many points each: the rows still open, their room and weights, and whether they met
    the goal, bool."""
    none = torch.zeros_like(space.x).flatten(1)
    state = Descent(none, none, none, none, torch.zeros_like(case.goal.y, dtype=torch.bool))
    for index, points in enumerate(plan):
        case, (space, weights, state) = still_open(case, (space, weights, state))
        if not len(case.key):
            break
        if points > 1:
            state = _moved(case, space, weights, state, index, points // 2, rate, hinge(confidence))
        if points:
            scores = case.oracle.scores(space.at(state.change.view_as(space.x)))
            state = state._replace(met=state.met | (case.goal.margin(scores) <= -confidence))
    case, (space, weights, state) = still_open(case, (space, weights, state))
    return case, (space, weights), state.met


def _moved(
    case: Case, space: Room, weights: Weights, state: Descent, index: int, count: int, rate: float, loss: Loss
) -> Descent:
    """Adam's step for `count` coordinates of each row, drawn among those that can move."""
    least, most = space.least.flatten(1), space.most.flatten(1)
    bits = keys.bits(keys.fold(case.key, index), least.shape[1])
    order = (((most <= least).long() << 32) + bits).argsort(dim=1, stable=True)[:, :count]
    slopes = [_slopes(case, space, state.change, order[:, part], loss) for part in slices(order.shape[1], AT_ONCE)]
    now = state.change.gather(1, order)
    downhill = 2 * now - weights.now[:, None] * torch.cat(slopes, 1)
    moves = state.moves.gather(1, order) + 1
    first = FIRST * state.first.gather(1, order) + (1 - FIRST) * downhill
    second = SECOND * state.second.gather(1, order) + (1 - SECOND) * downhill.square()
    spread = (second / (1 - SECOND**moves)).sqrt() + LEAST
    now = now - rate * first / (1 - FIRST**moves) / spread
    now = torch.minimum(torch.maximum(now, least.gather(1, order)), most.gather(1, order))
    return state._replace(
        change=state.change.scatter(1, order, now),
        first=state.first.scatter(1, order, first),
        second=state.second.scatter(1, order, second),
        moves=state.moves.scatter(1, order, moves),
    )


def _slopes(case: Case, space: Room, change: Tensor, order: Tensor, loss: Loss) -> Tensor:
    """How fast the loss rises along each coordinate of `order` (B, m) at a change (B, n): (B, m), in widths.

    By the difference over what is left of the distance between the two points within the bounds; 0 where that is nothing,
    or a point wasn't asked.
    """
    many = order.shape[1]
    rows = torch.arange(len(change), device=change.device).repeat(2 * many)
    here = change.gather(1, order)
    low, high = (bound.flatten(1).gather(1, order) for bound in (space.least, space.most))
    ends = (torch.minimum(here + NEAR, high), torch.maximum(here - NEAR, low))
    moved = [change.scatter(1, order[:, j : j + 1], end[:, j : j + 1]) for j in range(many) for end in ends]
    points = rows_of(space, rows).at(torch.cat(moved).view(len(rows), *space.x.shape[1:]))
    told = case.oracle.propose(points, rows)
    value = loss(told.scores, case.goal.take(rows))
    sound = (told.asked & torch.isfinite(value)).reshape(many, 2, -1)
    value = torch.where(sound, value.reshape(many, 2, -1), 0)
    far = (ends[0] - ends[1]).T
    rise = torch.where(sound.all(1) & (far > 0), (value[:, 0] - value[:, 1]) / far.clamp_min(1e-30), 0)
    return rise.T
