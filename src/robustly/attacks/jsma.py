"""JSMA: two coordinates at a time, those that raise the target's score most and lower the others'."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.goals import Goal
from robustly.steps import Attack, Case, per_target
from robustly.steps.counts import at_least_one
from robustly.steps.radii import ball_of, firmly, width_of
from robustly.steps.trim import trimmed
from robustly.steps.walk import still_open
from robustly.threats.ball import Ball
from robustly.threats.l0 import L0Ball

WAYS = 9  # directions between "raises the target" and "lowers the others" in which candidates of a pair are looked for
BEST = 4  # candidates in each direction


class Place(NamedTuple):
    """Where a search is; one row an example. z: (B, ...). met: bool (B,), z meets the goal that the oracle judges by,
    whatever the target. stuck: bool (B,), no pair is left. worth: (B, ...), of the changes of z: change times the gradient
    of the target's score less the others' at the last point asked."""

    z: Tensor
    met: Tensor
    stuck: Tensor
    worth: Tensor


@spec("attack", paper="Papernot et al. 2016, arXiv:1511.07528, algorithms 2 and 3", sets=("L0Ball",))
def jsma(steps: int = 60, theta: float = 1.0, targets: int = 1, tries: int = 8) -> Attack:
    """Change the pair of coordinates with the largest saliency by theta, again and again, until the goal is met.

    The saliency of a pair is (sum of dZ_t) * |sum of d(sum of the other scores)|, where the first is above 0 and the second
    below. The paper has one search that raises coordinates and one that lowers them; here both ways are looked at
    together, so that a pair may raise one and lower the other, and a coordinate at its bound leaves the search. The
    pair is the best among some 40 candidates, the best in 9 weightings of the two sums: all pairs of an image would be
    millions. Z are the scores as the model gives them; with logits, this is the variant of the paper that does not
    saturate. Towards a goal without a target, one search for each of the `targets` likeliest classes.
    At the end the point is asked with fewer of its changes, which the paper does not do. A search costs two forward and
    two backward passes a step, 1 + tries forward passes at the end, and stops at eps coordinates.

    Args:
        steps: pairs changed, at most. theta: the change of a coordinate, in widths of the range, 1 for all of it.
        targets: classes, where the goal has no target. tries: of the bisection at the end, 0 for none.

    Raises:
        UsageError: steps or targets < 1, tries < 0, theta not above 0 and at most 1; when it runs, a set other than l0, or
            an unbounded domain.
    """
    at_least_one((steps, "steps"), (targets, "targets"), (tries + 1, "tries + 1"))
    if not 0 < theta <= 1:
        raise UsageError(f"theta is a share of the input range, above 0 and at most 1, got {theta:g}.")

    def toward(case: Case) -> None:
        case, _ = still_open(case, ())
        if not len(case.key):
            return
        no = ~case.oracle.open
        state = Place(case.around.x, no, no, torch.zeros_like(case.around.x))
        for _ in range(steps):
            case, state = still_open(case, state)
            if not len(case.key) or (state.met | state.stuck).all():
                break
            state = changed(case, state, theta)
        case, state = still_open(case, state)
        if len(case.key):
            met = state.met | firmly(case.oracle.goal, case.oracle.scores(state.z, ~state.met))
            trimmed(case, state.z, state.worth, met & case.oracle.open, tries)

    def attack(case: Case) -> None:
        width_of(_ball(case), "jsma")
        if case.goal.target is None:
            per_target(toward, targets)(case)
        else:
            toward(case)

    return attack


def wanted(scores: Tensor, goal: Goal) -> Tensor:
    """The score of the target, (B,)."""
    assert goal.target is not None
    return scores.gather(1, goal.target[:, None]).squeeze(1)


def unwanted(scores: Tensor, goal: Goal) -> Tensor:
    """The sum of the other scores, (B,)."""
    return scores.sum(1) - wanted(scores, goal)


def changed(case: Case, state: Place, theta: float) -> Place:
    """The state after one pair, in the rows that have not met the goal and may still change."""
    around, z = _ball(case), state.z
    due = ~(state.met | state.stuck)
    rising = case.oracle.gradient(z, wanted, case.goal, due)
    met = state.met | (due & case.oracle.open & firmly(case.oracle.goal, rising.scores))
    due = due & ~met & case.oracle.open
    falling = case.oracle.gradient(z, unwanted, case.goal, due)
    place, up = pair(around, z, rising.grad.flatten(1), falling.grad.flatten(1))
    full = around.distance(z) >= around.eps
    stuck = state.stuck | (due & (full | ~up.any(1)))
    way = torch.zeros_like(rising.grad.flatten(1)).scatter(1, place, up)
    ahead = around.clip(z + theta * width_of(around, "jsma") * way.view_as(z))
    worth = (ahead - around.x) * (rising.grad - falling.grad)
    new = column(due & ~stuck, z)
    return Place(torch.where(new, ahead, z), met, stuck, torch.where(new, worth, state.worth))


def pair(around: Ball, z: Tensor, rising: Tensor, falling: Tensor) -> tuple[Tensor, Tensor]:
    """The two coordinates of largest saliency, int64 (B, 2), and which way they move, 1, -1 or (no such pair) 0, (B, 2).

    rising, falling: (B, n), the gradients of the target's score and of the others' sum.
    """
    room = torch.cat(((around.high > z).flatten(1), (z > around.low).flatten(1)), 1)
    gain, loss = torch.cat((rising, -rising), 1), torch.cat((-falling, falling), 1)
    largest = (t.abs().amax(1, keepdim=True).clamp_min(1e-30) for t in (gain, loss))
    gain, loss = (t / size for t, size in zip((gain, loss), largest, strict=True))
    few = min(BEST, gain.shape[1])
    found = []
    for way in range(WAYS):
        weight = way / (WAYS - 1)
        rank = torch.where(room, weight * gain + (1 - weight) * loss, -torch.inf)
        found.append(rank.topk(few, 1).indices)
    among = torch.cat(found, 1)
    n, count = rising.shape[1], among.shape[1]
    open_, gain, loss = room.gather(1, among), gain.gather(1, among), loss.gather(1, among)
    first, second = torch.triu_indices(count, count, device=z.device)
    both, less = gain[:, first] + gain[:, second], loss[:, first] + loss[:, second]
    place = among % n
    fit = open_[:, first] & open_[:, second] & (place[:, first] != place[:, second]) & (both > 0) & (less > 0)
    saliency, best = torch.where(fit, both * less, 0).max(1)
    two = torch.stack((among.gather(1, first[best][:, None]), among.gather(1, second[best][:, None])), 1).squeeze(2)
    up = torch.where(two < n, 1.0, -1.0) * (saliency > 0)[:, None]
    return two % n, up


def _ball(case: Case) -> Ball:
    return ball_of(case, "jsma", (L0Ball,), "l0, say l0:inf")
