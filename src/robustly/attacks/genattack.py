"""GenAttack: a small population of changes that select, cross and mutate."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.goals import Goal
from robustly.steps import Attack, Case
from robustly.steps.canvas import checked_side, enlarged, tile_shape
from robustly.steps.cores import core_of
from robustly.steps.walk import still_open
from robustly.threats.ball import Ball
from robustly.threats.base import Smooth
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall

KINDS = (LinfBall, L2Ball)
TEMPERATURE = 0.3  # of the softmax that selects, as in the authors' code
OFTEN, FAR, FADING = 0.5, 0.4, 0.9  # the first share of mutated coordinates, how far they go, and the fall at a plateau
PATIENCE = 100  # generations without a better one that make a plateau


class People(NamedTuple):
    """A population; one row an example. genes: (B, P, C, h, w), changes in shares of the reach. fitness: (B, P), larger is
    better, -inf for those never asked. best: (B,), the best yet; still: int64 (B,), generations since; plateaus: float (B,).
    """

    genes: Tensor
    fitness: Tensor
    best: Tensor
    still: Tensor
    plateaus: Tensor


@spec(
    "attack",
    paper="Alzantot et al. 2019, arXiv:1805.11090, algorithm 1 and section 4.3",
    needs="scores",
    sets=("LinfBall", "L2Ball", "GridSet"),
)
def genattack(
    queries: int = 5000, population: int = 6, mutation: float = 0.1, reach: float = 0.15, side: int = 0
) -> Attack:
    """A genetic search: the fittest stays, the others are children of parents drawn by fitness, crossed and mutated.

    Fitness is log p_t - log(sum of the other p), and without a target that of all classes but the label. Both rates of
    mutation adapt: they start high and fall at each plateau of 100 generations, down to `mutation` and `reach`. The changes
    are of eps at most in each coordinate; in l2, which the paper doesn't have, of eps * sqrt(3 / n), and then projected.
    The first generation costs `population` queries, each later one a query less, for the fittest is known; the last one may
    be smaller, so that a surviving example costs exactly `queries` forward passes.

    Args:
        queries: points asked an example.
        population: changes in a generation.
        mutation: the least share of the coordinates of a child that mutate.
        reach: how far they do at least, as a share of eps.
        side: changes are of tiles, so many along each side of an image (section 4.2; the authors enlarge bilinearly); 0
            for pixels.

    Raises:
        UsageError: queries < 1, population < 2, side < 0, a share not in (0, 1]; when it runs, a set without a linf or l2
            ball, an infinite eps, or an unbounded domain.
    """
    for value, what, least in ((queries, "queries", 1), (population, "population", 2)):
        if value < least:
            raise UsageError(f"{what} must be at least {least}, got {value}.")
    for share, what in ((mutation, "mutation"), (reach, "reach")):
        if not 0 < share <= 1:
            raise UsageError(f"{what} is a share, above 0 and at most 1; got {share:g}.")
    checked_side(side)

    def attack(case: Case) -> None:
        _finite(case)
        state, left, index = _first(case, population, side), queries, 0
        while left > 0:
            case, state = still_open(case, state)
            if not len(case.key):
                return
            begin = 1 if index else 0
            count = min(population - begin, left)
            state = _judged(case, state, begin, count)
            left, index = left - count, index + 1
            if left > 0:
                state = _bred(case, state, index, mutation, reach)

    return attack


def fitness(scores: Tensor, goal: Goal) -> Tensor:
    """The log-odds of the goal, (B,): of the target, or of anything but the label."""
    label = goal.y if goal.target is None else goal.target
    own = scores.gather(1, label[:, None]).squeeze(1)
    odds = own - scores.scatter(1, label[:, None], -torch.inf).logsumexp(1)
    return -odds if goal.target is None else odds


def _first(case: Case, population: int, side: int) -> People:
    """Uniform changes of the whole reach."""
    shape = tile_shape(cast(Smooth, case.around).x.shape[1:], side)
    genes = 2 * keys.uniform(keys.fold(case.key, 0), (population, *shape)) - 1
    none = torch.zeros(len(genes), device=genes.device)
    fit = torch.full((len(genes), population), -torch.inf, device=genes.device)
    return People(genes, fit, none - torch.inf, torch.zeros_like(case.goal.y), none)


def _judged(case: Case, state: People, begin: int, count: int) -> People:
    """Ask `count` of the population from number `begin` on; note whether there is a better one than ever."""
    rows = torch.arange(len(state.genes), device=state.genes.device).repeat(count)
    around = cast(Smooth, case.around.take(rows))
    some = state.genes[:, begin : begin + count].transpose(0, 1).flatten(0, 1)
    told = case.oracle.propose(
        around.project(around.x + column(_reach(case)[rows], around.x) * enlarged(some, around.x.shape[1:])), rows
    )
    fit = fitness(told.scores, case.goal.take(rows)).nan_to_num(-torch.inf, torch.inf, -torch.inf)
    fit = torch.where(told.asked, fit, -torch.inf).reshape(count, -1).T
    fit = torch.cat((state.fitness[:, :begin], fit, torch.full_like(state.fitness[:, begin + count :], -torch.inf)), 1)
    best = fit.amax(1)
    still = torch.where(best > state.best, 0, state.still + 1)
    stuck = still >= PATIENCE
    return People(
        state.genes, fit, torch.maximum(best, state.best), torch.where(stuck, 0, still), state.plateaus + stuck
    )


def _bred(case: Case, state: People, index: int, mutation: float, reach: float) -> People:
    """The next generation: the fittest first, then the children of pairs."""
    rows, population = state.fitness.shape
    key = keys.fold(case.key, index)
    chance = torch.softmax(state.fitness.clamp(-1e30, 1e30) / TEMPERATURE, 1)
    drawn = keys.uniform(keys.fold(key, 0), (2, population - 1)) * chance.sum(1)[:, None, None]
    parents = (drawn[..., None] >= chance.cumsum(1)[:, None, None]).sum(3).clamp_max(population - 1)
    first, second = (state.genes[torch.arange(rows, device=parents.device)[:, None], parents[:, i]] for i in (0, 1))
    odds = [chance.gather(1, parents[:, i]) for i in (0, 1)]
    share = (odds[0] / (odds[0] + odds[1]).clamp_min(1e-30))[:, :, None, None, None]
    child = torch.where(keys.uniform(keys.fold(key, 1), first.shape[1:]) < share, first, second)
    fall = FADING**state.plateaus
    often, far = (OFTEN * fall).clamp_min(mutation), (FAR * fall).clamp_min(reach)
    step = column(far, child) * (2 * keys.uniform(keys.fold(key, 2), child.shape[1:]) - 1)
    changed = keys.uniform(keys.fold(key, 3), child.shape[1:]) < column(often, child)
    child = torch.where(changed, child + step, child).clamp(-1, 1)
    top = state.fitness.argmax(1, keepdim=True)
    elite = state.genes[torch.arange(rows, device=top.device)[:, None], top]
    return state._replace(
        genes=torch.cat((elite, child), 1), fitness=state.fitness.gather(1, top).expand(-1, population)
    )


def _reach(case: Case) -> Tensor:
    """The largest change of a coordinate, (B,)."""
    ball = _finite(case)
    many = ball.x[0].numel()
    return ball.radius if isinstance(ball, LinfBall) else ball.radius * (3 / many) ** 0.5


def _finite(case: Case) -> Ball:
    ball = core_of(case, "genattack", KINDS, "linf or l2")
    if not torch.isfinite(ball.radius).all():
        raise UsageError("genattack needs a finite eps; for the least distance wrap it: least_radius(...).")
    return ball
