"""The transfer attacks that show the model other views of the input: DI, SI with a look ahead, spectrum simulation."""

from __future__ import annotations

from robustly.core.specs import spec
from robustly.losses import cross_entropy
from robustly.oracle.answers import Loss
from robustly.steps import Attack, clean, momentum
from robustly.steps.input_views import di, si
from robustly.steps.input_views import ssa as spectrum
from robustly.steps.transferable import transferable

BALLS = ("Ball", "GridSet", "BothSet")


@spec("attack", paper="Xie et al. 2019, arXiv:1803.06978", sets=BALLS)
def difgsm(
    steps: int = 10,
    size: float = 0.1,
    decay: float = 1.0,
    rate: float = 0.9,
    chance: float = 0.5,
    loss: Loss = cross_entropy,
) -> Attack:
    """MI-FGSM on randomly shrunk and placed inputs (M-DI2-FGSM; with decay = 0 DI2-FGSM)."""
    views, then = [di(rate, chance)], [momentum(decay)]
    return transferable(views, then, (), steps=steps, size=size, ahead=0.0, loss=loss, start=clean)


@spec("attack", paper="Lin et al. 2020, arXiv:1908.06281, algorithm 1", sets=BALLS)
def sinifgsm(
    steps: int = 10, size: float = 0.1, decay: float = 1.0, times: int = 5, loss: Loss = cross_entropy
) -> Attack:
    """NI-FGSM on the mean gradient of the input at full, half, a quarter, ... brightness (SI-NI-FGSM)."""
    return transferable([si(times)], [momentum(decay)], (), steps=steps, size=size, ahead=decay, loss=loss, start=clean)


@spec("attack", paper="Long et al. 2022, arXiv:2207.05382, algorithm 1", sets=BALLS)
def ssa(
    steps: int = 10,
    size: float = 0.1,
    decay: float = 1.0,
    times: int = 20,
    spread: float = 0.5,
    sigma: float = 16 / 255,
    loss: Loss = cross_entropy,
) -> Attack:
    """MI-FGSM on the mean gradient over inputs of randomly changed spectrum (S2I-MI-FGSM; decay = 0: S2I-FGSM)."""
    views, then = [spectrum(times, spread, sigma)], [momentum(decay)]
    return transferable(views, then, (), steps=steps, size=size, ahead=0.0, loss=loss, start=clean)
