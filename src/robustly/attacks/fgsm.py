"""One gradient step: FGSM, and R+FGSM, which takes a random step first."""

from __future__ import annotations

from torch import Tensor

from robustly.core.keys import fold, normal
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.losses import cross_entropy
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case, ascend, by_radius, chain, clean, projected, steepest
from robustly.steps.transforms import walkable
from robustly.steps.walk import positive


@spec("attack", paper="Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572")
def fgsm(loss: Loss = cross_entropy) -> Attack:
    """One step of full length along the steepest direction, from the clean input.

    Under linf every coordinate moves by eps; under l2 all move along the gradient; under l1 a single one moves, that of the
    largest gradient with room left, and no farther than its range goes. There apgd and pgd of many steps find far more.
    """
    return ascend(loss, clean, projected(chain(steepest(), by_radius())), 1)


@spec("attack", paper="Tramer et al. 2018, arXiv:1705.07204")
def rfgsm(first: float = 0.5, loss: Loss = cross_entropy) -> Attack:
    """A random step of `first` times eps, then a gradient step of what is left of eps.

    Under l1 each of the two moves one coordinate alone; see `fgsm`.

    Raises:
        UsageError: first is not between 0 and 1.
    """
    positive(first, "first")
    positive(1 - first, "1 - first")

    def partway(case: Case) -> Tensor:
        around = walkable(case)
        direction = around.steepest(normal(fold(case.key, 0), around.x.shape[1:]))
        return around.project(around.x + first * column(around.radius, direction) * direction)

    return ascend(loss, partway, projected(chain(steepest(), by_radius(1 - first))), 1)
