"""MultiTargeted: projected gradient ascent towards one wrong class after the other."""

from __future__ import annotations

from robustly.core.specs import spec
from robustly.losses import difference
from robustly.steps import Attack, Case, Start, ascend, by_radius, chain, projected, restarts, steepest, uniform
from robustly.steps.hyperplane import order_of
from robustly.steps.targets import per_nearest_target
from robustly.steps.walk import positive


@spec("attack", paper="Gowal et al. 2019, arXiv:1910.09338", sets=("LinfBall", "L2Ball", "L1Ball"))
def multitargeted(
    steps: int = 20, targets: int = 9, times: int = 1, size: float = 0.1, width: int = 9, start: Start = uniform
) -> Attack:
    """PGD on z_t - z_y for each target t: the exact margin to a class has fewer flat places than the margin to all.

    The targets are those whose linearised borders are nearest, nearest first (`per_nearest_target`); the paper takes
    all of them, in no order, which is the same set where targets and width reach all classes but one. Each is gone for
    `times` times, each time from a fresh start. `size` is a step as a fraction of eps.

    It works in balls that have a dual norm; in other sets say per_nearest_target(pgd(loss=difference)).

    Raises:
        UsageError: steps, targets, times or width < 1, size not above 0; when it runs, an infinite eps or a set that
            isn't a linf, l2 or l1 ball.
    """
    positive(size, "size")
    inner = ascend(difference, start, projected(chain(steepest(), by_radius(size))), steps)
    ranked = per_nearest_target(restarts(inner, times), targets, width)

    def attack(case: Case) -> None:
        order_of(case.around, "multitargeted")
        ranked(case)

    return attack
