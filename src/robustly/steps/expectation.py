"""Attacks that follow averages: over the answers of a random model, or over points near by."""

from __future__ import annotations

from dataclasses import replace

from robustly.core.errors import UsageError
from robustly.core.keys import fold
from robustly.core.specs import spec
from robustly.oracle import Noise
from robustly.steps.counts import at_least_one
from robustly.steps.transforms import walkable
from robustly.steps.types import Attack, Case
from robustly.steps.walk import positive


@spec(
    "attack",
    paper="Athalye, Engstrom, Ilyas & Kwok 2018, arXiv:1707.07397; as in AutoAttack's rand, arXiv:2003.01690",
)
def expected(inner: Attack, times: int = 20) -> Attack:
    """The attack on the mean of `times` answers of a random model, at every point it asks.

    Losses, gradients and scores are those of the mean over the draws, and a point is evidence where most of them meet
    the goal, at their mean margin. (AutoAttack's `rand` averages the gradient alone, and judges by the last draw.) Every
    draw is paid: a step costs `times` forward and `times` backward passes. Rows whose budget has room for fewer are not
    asked. Clean scores that are known already, from one draw, are taken as they are.

    Raises:
        UsageError: times < 1.
    """
    _at_least_one(times)

    def attack(case: Case) -> None:
        manner = case.oracle.manner
        inner(case._replace(oracle=case.oracle.asking(replace(manner, times=manner.times * times))))

    return attack


@spec(
    "attack",
    paper="Smilkov et al. 2017, arXiv:1706.03825; Wu et al. 2018, arXiv:1802.09707, algorithm 1",
    sets=("Ball", "GridSet", "BothSet"),
)
def averaged(inner: Attack, times: int = 10, size: float = 0.1) -> Attack:
    """The attack along the mean gradient at each point and at times - 1 random members of the set near it.

    It smooths a shattered gradient. Each near point moves every coordinate by up to `size` of the set's radius and is
    put back into the set, and counts as asked; losses are the mean over all, scores those at the point itself. A step
    costs `times` forward and `times` backward passes.

    Raises:
        UsageError: times < 1, size not above 0; when it runs, a discrete set or an infinite eps.
    """
    _at_least_one(times)
    positive(size, "size")

    def attack(case: Case) -> None:
        if not walkable(case).radius.isfinite().all():
            raise UsageError("averaged moves by a share of eps: give a finite eps, or put it inside least_radius.")
        noise = Noise(times, size, fold(case.key, 1))
        oracle = case.oracle.asking(replace(case.oracle.manner, noise=noise))
        inner(case._replace(oracle=oracle, key=fold(case.key, 2)))

    return attack


def _at_least_one(times: int) -> None:
    at_least_one((times, "times"))
