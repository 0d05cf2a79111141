"""Variance tuning: each gradient corrected by how the one before differed from those around it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.steps.counts import at_least_one
from robustly.steps.transforms import Named, walkable
from robustly.steps.types import Case
from robustly.steps.walk import positive
from robustly.threats.linf import LinfBall


class Situated(Case):
    """A case that knows where a walk stands: z (B, ...), and how to ask for gradients, number by number, elsewhere.

    last: no step follows this one, so that what is learnt for it need not be asked.
    """

    z: Tensor
    slope: Callable[[Tensor, int], Tensor]
    last: bool


def situated(case: Case, z: Tensor, slope: Callable[[Tensor, int], Tensor], last: bool) -> Situated:
    """The case with a point and a way to ask."""
    out = Situated(*case)
    out.z, out.slope, out.last = z, slope, last
    return out


@spec("transform", paper="Wang & He 2021, arXiv:2103.15571, eq. 6 and algorithm 1")
def variance(times: int = 20, reach: float = 1.5) -> Named:
    """g + v, where v is the mean gradient of random neighbours of the last point less the gradient that was had there.

    It stands first, before the gradient is blurred or accumulated. Each neighbour is seen as the point itself is, and
    paid: a step costs 1 + times as much, but for the last, whose neighbours nothing would follow.

    Args:
        times: neighbours a step.
        reach: how far away they are at most, in radii of the set (beta).

    Raises:
        UsageError: times < 1, reach not above 0; when it runs, a loop that cannot ask elsewhere (use `transfer_pgd`).
    """
    positive(reach, "reach")
    at_least_one((times, "times"))

    def update(case: Case, tuned: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        if not isinstance(case, Situated):
            raise UsageError(
                "variance asks for gradients around a point: put it into transfer_pgd(then=[variance(), ...])."
            )
        if case.last:
            return change + tuned, tuned
        around = [case.slope(_near(case, reach, turn), turn) for turn in range(times)]
        return change + tuned, torch.stack(around).mean(0) - change

    return Named(lambda case, z: torch.zeros_like(z), update)


def _near(case: Situated, reach: float, turn: int) -> Tensor:
    """A point around where the walk stands, uniform in a cube under linf, else moved as a member of the set is."""
    around, key = walkable(case), keys.fold(case.key, turn)
    if isinstance(around, LinfBall):
        way = (2 * keys.uniform(key, case.z.shape[1:]) - 1).to(case.z) * column(around.radius, case.z)
    else:
        way = around.sample(key) - around.x
    return case.z + reach * way
