"""PDPGD: a primal-dual game between the size of the change and the goal, the size by its proximal operator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.goals import Goal
from robustly.oracle import Answer
from robustly.steps import Attack, Case
from robustly.steps.contraction import finish
from robustly.steps.counts import at_least_one
from robustly.steps.dual import DUAL
from robustly.steps.moments import Moments, direction, no_moments, remembered
from robustly.steps.proximal import block, capped, soft, two_thirds
from robustly.steps.sizes import SIZES, nearer
from robustly.steps.walk import positive, still_open
from robustly.steps.widths import Room, room
from robustly.threats.base import PerturbationSet
from robustly.threats.l0 import L0Ball
from robustly.threats.l1 import L1Ball
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall

DECAY = 0.01  # the last step over the first; section 4 of the paper
WEIGHT_DECAY = 0.1  # the same of the dual steps
MEMORY = 0.9  # of the running mean of the weights
WIDEST = 1e-6  # least share of either weight
INNER = 5  # rounds of a proximal operator in Adam's metric

Shrink = Callable[[Tensor, Tensor, Tensor], Tensor]


class Game(NamedTuple):
    """One row an example.

    change: (B, ...), in widths. moments: of the loss's gradient. dual: (B,), logarithm of the goal's weight over the
    size's. mean: (B,), running mean of the goal's share of both. best: (B, ...), the nearest change that met the goal,
    and far, its size (inf where none did). price: (B,), how fast the margin falls along the best change of size 1 at the
    start, which makes the two weights comparable whatever the scale of scores and sizes.
    """

    change: Tensor
    moments: Moments
    dual: Tensor
    mean: Tensor
    best: Tensor
    far: Tensor
    price: Tensor


def together(shrink: Callable[[Tensor, Tensor], Tensor]) -> Shrink:
    """A few proximal gradient steps on the problem in Adam's metric (Melchior et al. 2019, arXiv:1910.10094, algorithm 2).

    For l1 and l0 the problem has a closed form, which changes another few coordinates and does worse: there the
    coordinates of least gradient, where Adam's steps are long, shrink most.
    """

    def inner(v: Tensor, level: Tensor, scale: Tensor) -> Tensor:
        least = scale.flatten(1).amin(1).clamp_min(1e-30)  # 1 over the largest curvature
        pull = column(least, v) / scale
        u = v
        for _ in range(INNER):
            u = shrink(u - pull * (u - v), level.flatten() * least)
        return u

    return inner


WAYS: dict[type[PerturbationSet], Shrink] = {
    LinfBall: together(capped),
    L2Ball: together(block),
    L1Ball: together(lambda v, level: soft(v, column(level, v))),
    L0Ball: together(lambda v, level: two_thirds(v, column(level, v))),
}
"""How each norm shrinks a change."""
STEEP: dict[type[PerturbationSet], float] = {**DUAL, L0Ball: math.inf}
"""How the gradient is measured for each: for l0 by its largest coordinate, as for l1."""


@spec("attack", paper="Matyasko & Chau 2021, arXiv:2106.01538", sets=("LinfBall", "L2Ball", "L1Ball", "L0Ball"))
def pdpgd(
    steps: int = 250, rate: float = 0.1, dual_rate: float = 0.1, ratio: float = 0.01, binary_steps: int = 8
) -> Attack:
    """Minimise the size of the change subject to the goal, by descent in the change and ascent in the goal's weight.

    A step descends the loss with Adam, within the domain, then shrinks the change by the proximal operator of the norm
    (for l0 that of the 2/3-norm) with the weight that the size has at the moment. The goal's weight grows while it isn't
    met and falls while it is. Least distances are found with eps = inf and an oracle that presses on; with a finite eps
    points beyond it are asked too and are no evidence. A step costs one forward and one backward pass; the last point
    and the bisections of the best change towards the input cost one forward pass each. The norm is that of the ball.

    Args:
        steps: gradient steps.
        rate: the first step of Adam, in widths of the domain; it falls to a hundredth of that.
        dual_rate: the first step of the logarithm of the goal's weight; it falls to a tenth.
        ratio: the size's weight over the goal's at the start.
        binary_steps: bisections at the end (not in the paper), 0 for none.

    Raises:
        UsageError: steps < 1, binary_steps < 0, a rate or ratio that isn't positive; when it runs, a set that isn't a
            linf, l2, l1 or l0 ball, or an unbounded domain.
    """
    at_least_one((steps, "steps"))
    if binary_steps < 0:
        raise UsageError(f"binary_steps must be at least 0, got {binary_steps}.")
    positive(rate, "rate")
    positive(dual_rate, "dual_rate")
    positive(ratio, "ratio")

    def attack(case: Case) -> None:
        space = room(case, "pdpgd", tuple(WAYS))
        game = _begun(space, ratio)
        for index in range(steps):
            case, (space, game) = still_open(case, (space, game))
            if not len(case.key):
                return
            game = _round(case, space, game, index, steps, rate, dual_rate)
        case, (space, game) = still_open(case, (space, game))
        if not len(case.key):
            return
        game = _kept(case, game, case.goal.met(case.oracle.scores(space.at(game.change))))
        finish(case, space, game.best, torch.isfinite(game.far), binary_steps)

    return attack


def reluctance(scores: Tensor, goal: Goal) -> Tensor:
    """Minus the softplus of the margin: what the change climbs; it goes on a little beyond the border."""
    return -F.softplus(goal.margin(scores))


def _begun(space: Room, ratio: float) -> Game:
    none = torch.zeros_like(space.x)
    dual = torch.full((len(none),), -math.log(ratio), device=none.device)
    return Game(none, no_moments(none), dual, torch.sigmoid(dual), none, torch.full_like(dual, torch.inf), dual)


def _round(case: Case, space: Room, game: Game, index: int, steps: int, rate: float, dual_rate: float) -> Game:
    """Ask where the change leads, then move the change and the weights."""
    answer = case.oracle.gradient(space.at(game.change), reluctance, case.goal)
    met = case.goal.met(answer.scores)
    game = _kept(case, game, met)
    moments = remembered(game.moments, -space.width * answer.grad)
    mean, spread = direction(moments, index + 1)
    scale = rate * DECAY ** (index / steps) / spread
    change = space.fit(game.change - scale * mean)
    if index == 0:
        game = game._replace(price=_price(answer, space.width, STEEP[type(case.around)]))
    level = column(game.price * (1 - game.mean) / game.mean, change)
    change = space.fit(WAYS[type(case.around)](change, level, scale))
    left = 1 - index / max(steps - 1, 1)
    pace = dual_rate * (left * (1 - WEIGHT_DECAY) + WEIGHT_DECAY)
    bound = -math.log(WIDEST)
    dual = (game.dual + torch.where(met, -pace, pace)).clamp(-bound, bound)
    mean = MEMORY * game.mean + (1 - MEMORY) * torch.sigmoid(dual)
    return game._replace(change=change, moments=moments, dual=dual, mean=mean)


def _price(answer: Answer, width: float, dual: float) -> Tensor:
    """The dual norm of the margin's gradient, (B,): the loss's own, without the slope of the softplus; 1 where it is 0."""
    slope = torch.linalg.vector_norm(width * answer.grad.flatten(1), ord=dual, dim=1)
    price = slope / (-torch.expm1(answer.value)).clamp_min(1e-6)
    return torch.where(price > 0, price, 1)


def _kept(case: Case, game: Game, met: Tensor) -> Game:
    """The game with its best change brought up to date."""
    far = SIZES[type(case.around)](game.change)
    best, far = nearer(game.change, far, met, game.best, game.far)
    return game._replace(best=best, far=far)
