"""ODI-PGD: restarts that begin where the model's answers differ most."""

from __future__ import annotations

from robustly.core.specs import spec
from robustly.losses import margin
from robustly.oracle.answers import Loss
from robustly.steps import Attack, ascend, by_radius, chain, projected, restarts, steepest
from robustly.steps.diverse import output_diversified
from robustly.steps.walk import positive


@spec("attack", paper="Tashiro, Song & Ermon 2020, arXiv:2003.06878")
def odi(steps: int = 20, times: int = 20, size: float = 0.25, loss: Loss = margin) -> Attack:
    """PGD on the margin from `times` output-diversified starts; `size` is a step as a fraction of eps.

    Uniform starts lead to much the same answers; these do not, so that fewer of them are needed. Any other attack takes
    the same start: apgd(start=output_diversified). A surviving example costs times * (steps + 3) forward and
    times * (steps + 2) backward passes.

    Raises:
        UsageError: steps or times < 1, size not above 0; when it runs, an infinite eps.
    """
    positive(size, "size")
    return restarts(ascend(loss, output_diversified, projected(chain(steepest(), by_radius(size))), steps), times)
