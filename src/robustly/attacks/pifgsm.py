"""Patch-wise iterative FGSM."""

from __future__ import annotations

from robustly.core.specs import spec
from robustly.losses import cross_entropy
from robustly.oracle.answers import Loss
from robustly.steps import Attack, ascend, by_radius, chain, clean, projected, steepest
from robustly.steps.patches import patches
from robustly.steps.walk import positive


@spec("attack", paper="Gao et al. 2020, arXiv:2007.06765, algorithm 1", sets=("LinfBall",))
def pifgsm(
    steps: int = 10, size: float = 0.1, amplification: float = 10.0, width: int = 3, loss: Loss = cross_entropy
) -> Attack:
    """BIM with steps `amplification` times as long, whose part beyond eps is pushed to the pixels around."""
    positive(size, "size")
    return ascend(loss, clean, projected(chain(steepest(), by_radius(size), patches(amplification, width))), steps)
