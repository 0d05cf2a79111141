"""Iterative FGSM with variance tuning: with momentum (VMI), and with a look ahead (VNI)."""

from __future__ import annotations

from robustly.core.specs import spec
from robustly.losses import cross_entropy
from robustly.oracle.answers import Loss
from robustly.steps import Attack, clean, momentum
from robustly.steps.transferable import transferable
from robustly.steps.variance import variance

BALLS = ("Ball", "GridSet", "BothSet")


@spec("attack", paper="Wang & He 2021, arXiv:2103.15571, algorithm 1", sets=BALLS)
def vmifgsm(
    steps: int = 10,
    size: float = 0.1,
    decay: float = 1.0,
    times: int = 20,
    reach: float = 1.5,
    loss: Loss = cross_entropy,
) -> Attack:
    """MI-FGSM, each gradient corrected by the mean over `times` neighbours of the last point, up to `reach` eps away."""
    then = [variance(times, reach), momentum(decay)]
    return transferable((), then, (), steps=steps, size=size, ahead=0.0, loss=loss, start=clean)


@spec("attack", paper="Wang & He 2021, arXiv:2103.15571, section 3.3", sets=BALLS)
def vnifgsm(
    steps: int = 10,
    size: float = 0.1,
    decay: float = 1.0,
    times: int = 20,
    reach: float = 1.5,
    loss: Loss = cross_entropy,
) -> Attack:
    """NI-FGSM with the same correction; the neighbours are those of the point itself, not of the one ahead."""
    then = [variance(times, reach), momentum(decay)]
    return transferable((), then, (), steps=steps, size=size, ahead=decay, loss=loss, start=clean)
