"""Projected gradient ascent: PGD, and BIM, which starts at the clean input."""

from __future__ import annotations

from robustly.core.specs import spec
from robustly.losses import cross_entropy
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Start, ascend, by_radius, chain, clean, projected, steepest, uniform
from robustly.steps.walk import positive


@spec("attack", paper="Madry et al. 2018, arXiv:1706.06083")
def pgd(steps: int = 40, size: float = 0.1, loss: Loss = cross_entropy, start: Start = uniform) -> Attack:
    """Projected gradient ascent from a random point; `size` is a step as a fraction of eps.

    In l1 a step moves one coordinate, the steepest that can still move; the sparse steps of apgd break more there.
    """
    positive(size, "size")
    return ascend(loss, start, projected(chain(steepest(), by_radius(size))), steps)


@spec("attack", paper="Kurakin, Goodfellow & Bengio 2017, arXiv:1607.02533")
def bim(steps: int = 10, size: float = 0.1, loss: Loss = cross_entropy) -> Attack:
    """The basic iterative method: gradient ascent from the clean input."""
    return pgd(steps, size, loss, clean)
