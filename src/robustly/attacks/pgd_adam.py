"""Projected gradient ascent with the steps of Adam."""

from __future__ import annotations

from robustly.core.errors import UsageError
from robustly.core.specs import spec
from robustly.losses import cross_entropy
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case, Start, ascend, by_radius, chain, projected, uniform
from robustly.steps.adam import adam
from robustly.steps.walk import positive
from robustly.threats.linf import LinfBall


@spec(
    "attack", paper="Uesato et al. 2018, arXiv:1802.05666; Adam: Kingma & Ba 2015, arXiv:1412.6980", sets=("LinfBall",)
)
def pgd_adam(steps: int = 40, size: float = 0.1, loss: Loss = cross_entropy, start: Start = uniform) -> Attack:
    """PGD whose step is Adam's in place of the sign: coordinates whose gradient wavers move less. Linf only.

    `size` is the first step as a fraction of eps. Adam gives every coordinate a scale of its own, which suits a box; in
    an l2 or l1 ball its steady direction is the sign, which isn't the steepest there, so those are refused. A surviving
    example costs steps + 1 forward and `steps` backward passes.

    Raises:
        UsageError: steps < 1, size not above 0; when it runs, an infinite eps or another set.
    """
    positive(size, "size")
    walk = ascend(loss, start, projected(chain(adam(), by_radius(size))), steps)

    def attack(case: Case) -> None:
        if not isinstance(case.around, LinfBall):
            raise UsageError(
                f"pgd_adam works in linf balls, not in {type(case.around).__name__}; use pgd or apgd there."
            )
        walk(case)

    return attack
