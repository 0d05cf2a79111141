"""Iterative FGSM with momentum, plain (MI) and with a look ahead (NI)."""

from __future__ import annotations

from robustly.core.specs import spec
from robustly.losses import cross_entropy
from robustly.oracle.answers import Loss
from robustly.steps import Attack, ascend, by_radius, chain, clean, looking_ahead, momentum, projected, steepest
from robustly.steps.walk import positive


@spec("attack", paper="Dong et al. 2018, arXiv:1710.06081")
def mifgsm(steps: int = 10, size: float = 0.1, decay: float = 1.0, loss: Loss = cross_entropy) -> Attack:
    """Ascent along the accumulated, l1-normalised gradient; `size` as a fraction of eps."""
    positive(size, "size")
    return ascend(loss, clean, projected(chain(momentum(decay), steepest(), by_radius(size))), steps)


@spec("attack", paper="Lin et al. 2020, arXiv:1908.06281", sets=("Ball", "GridSet", "BothSet"))
def nifgsm(steps: int = 10, size: float = 0.1, decay: float = 1.0, loss: Loss = cross_entropy) -> Attack:
    """MI-FGSM with the gradient taken where the momentum leads."""
    positive(size, "size")
    transform = chain(momentum(decay), steepest(), by_radius(size))
    return ascend(loss, clean, looking_ahead(transform, size, decay), steps)
