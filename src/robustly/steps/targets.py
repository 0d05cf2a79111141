"""Which wrong class to go for first: the one whose border seems nearest from the input."""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.core.keys import fold
from robustly.core.specs import spec
from robustly.steps.counts import at_least_one
from robustly.steps.transforms import walkable
from robustly.steps.types import Attack, Case
from robustly.threats.base import Smooth


@spec("attack", paper="Gowal et al. 2019, arXiv:1910.09338, with targets in order of linearised distance")
def per_nearest_target(inner: Attack, targets: int = 3, width: int = 9) -> Attack:
    """The attack towards each of the wrong classes whose borders are nearest by linearisation, nearest first.

    The order is that of `nearest_targets`, for one forward and width + 1 backward passes a row more than `inner` costs;
    none where there is only one class to go for. Fewer targets where there are fewer classes; a goal that has a target
    keeps it.

    Raises:
        UsageError: targets or width < 1.
    """
    at_least_one((targets, "targets"), (width, "width"))

    def attack(case: Case) -> None:
        walkable(case)
        if case.goal.target is not None:
            return inner(case)
        open_rows = case.oracle.open.nonzero().squeeze(1)
        if len(open_rows) < len(case.key):
            case = case.take(open_rows)
        if not len(case.key):
            return None
        order = nearest_targets(case, width)
        for rank in range(min(targets, order.shape[1])):
            inner(case._replace(goal=case.goal.toward(order[:, rank]), key=fold(case.key, rank)))
        return None

    return attack


def nearest_targets(case: Case, width: int = 9) -> Tensor:
    """Wrong classes by (z_y - z_k) / |grad(z_y - z_k)| at the input, least first: int64 (B, T), T at most `width`.

    The length of the gradient is in the dual of the set's norm, so that the ratio is the distance, in the set's norm, of
    the border as it would be if the scores were linear. Only the `width` most likely wrong classes are looked at, with
    one forward pass and a backward pass for each and for the label. Where no gradient tells, the likelier comes first.
    """
    around = walkable(case)
    scores = case.oracle.clean_scores()
    count = min(width, scores.shape[1] - 1)
    others = scores.scatter(1, case.goal.y[:, None], float("-inf"))
    likely = others.argsort(dim=1, descending=True, stable=True)[:, :count]
    if count < 2:
        return likely
    labels = torch.cat((case.goal.y[:, None], likely), 1)
    found, slopes = case.oracle.jacobian(around.x, labels)
    gap = (found.gather(1, labels[:, :1]) - found.gather(1, likely)).nan_to_num(nan=torch.inf)
    steep = torch.stack([steepness(around, slopes[:, 0] - slopes[:, k]) for k in range(1, count + 1)], 1)
    return likely.gather(1, (gap / steep.clamp_min(1e-30)).argsort(dim=1, stable=True))


def steepness(around: Smooth, slope: Tensor) -> Tensor:
    """How fast a linear function with gradient `slope` (B, ...) rises in the set's norm: the dual norm, (B,)."""
    return (slope * around.steepest(slope)).flatten(1).sum(1)
