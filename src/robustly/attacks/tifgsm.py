"""MI-FGSM along a blurred gradient, as of shifted inputs."""

from __future__ import annotations

from robustly.core.specs import spec
from robustly.losses import cross_entropy
from robustly.oracle.answers import Loss
from robustly.steps import Attack, ascend, by_radius, chain, clean, momentum, projected, steepest
from robustly.steps.blur import ti
from robustly.steps.walk import positive


@spec("attack", paper="Dong et al. 2019, arXiv:1904.02884", sets=("Ball", "GridSet", "BothSet"))
def tifgsm(
    steps: int = 10, size: float = 0.1, decay: float = 1.0, width: int = 15, loss: Loss = cross_entropy
) -> Attack:
    """MI-FGSM whose gradient is blurred by a Gaussian kernel `width` pixels wide (TI-MI-FGSM)."""
    positive(size, "size")
    return ascend(loss, clean, projected(chain(ti(width), momentum(decay), steepest(), by_radius(size))), steps)
