"""A start that is random in what the model answers, not in what it is given."""

from __future__ import annotations

from torch import Tensor

from robustly.core.keys import fold, uniform
from robustly.core.specs import register
from robustly.goals import Goal
from robustly.steps.keyed import Keyed, keyed
from robustly.steps.members import member
from robustly.steps.transforms import by_radius, chain, steepest, walkable
from robustly.steps.types import Case

STEPS = 2  # of length eps each, as in the paper's white-box experiments


@register("start", paper="Tashiro, Song & Ermon 2020, arXiv:2003.06878, eq. 3 and 4")
def output_diversified(case: Case) -> Tensor:
    """A random member moved by two steps of length eps along the gradient of a random combination of the scores.

    The weights of the combination are uniform in [-1, 1] and stay the same for both steps. Costs two forward and two
    backward passes; what it asks counts as evidence like any other point.
    """
    around, full = walkable(case), chain(steepest(), by_radius())
    z, goal = around.sample(fold(case.key, 0)), keyed(case.goal, fold(case.key, 1))
    for _ in range(STEPS):
        grad = case.oracle.gradient(member(case, z), combination, goal).grad
        z = around.project(z + full.update(case, full.init(case, grad), grad)[0])
    return z


def combination(scores: Tensor, goal: Goal) -> Tensor:
    """<w, z> for weights w uniform in [-1, 1], drawn from the goal's key; (B,)."""
    assert isinstance(goal, Keyed)
    return ((2 * uniform(goal.drawn, scores.shape[1:]) - 1) * scores).sum(1)
