"""What an attack climbs: each takes scores (B, K), a `Goal` of B rows, and gives a value (B,); larger is more adversarial.

A loss never mixes rows, so an example's gradient doesn't depend on its neighbours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robustly.core.specs import register
from robustly.goals import Goal


@register("loss", paper="Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572")
def cross_entropy(scores: Tensor, goal: Goal) -> Tensor:
    """Cross entropy of the true label; targeted, minus that of the target."""
    if goal.target is None:
        return F.cross_entropy(scores, goal.y, reduction="none")
    return -F.cross_entropy(scores, goal.target, reduction="none")


@register("loss", paper="Carlini & Wagner 2017, arXiv:1608.04644, f6 without the floor")
def margin(scores: Tensor, goal: Goal) -> Tensor:
    """Minus the margin of the goal: max_{k != y} z_k - z_y, positive when adversarial."""
    return -goal.margin(scores)


@register("loss", paper="Croce & Hein 2020, arXiv:2003.01690, eq. 6 and 7")
def dlr(scores: Tensor, goal: Goal) -> Tensor:
    """Difference of logits ratio: invariant to shift and scale of the logits.

    Untargeted -(z_y - max_{k != y} z_k) / (z_(1) - z_(3)) over the sorted scores; with two classes, where no third score
    exists, the denominator is |z_1 - z_2|, which only keeps the sign, so prefer `margin` there. Targeted
    -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), with fewer than four classes the last scores stand in.
    """
    top = scores.sort(1, descending=True).values
    last = top.shape[1] - 1
    third, fourth = top[:, min(2, last)], top[:, min(3, last)]
    if goal.target is None:
        return -goal.margin(scores) / (top[:, 0] - third + 1e-12)
    own = scores.gather(1, goal.y[:, None]).squeeze(1)
    wanted = scores.gather(1, goal.target[:, None]).squeeze(1)
    return -(own - wanted) / (top[:, 0] - 0.5 * (third + fourth) + 1e-12)


@register("loss", paper="margin of the softmax probabilities, as in Sadiku et al. and the Adaptive-PGD family")
def probability_margin(scores: Tensor, goal: Goal) -> Tensor:
    """Minus the margin of the softmax probabilities: bounded, and flat where an example is beyond hope or done."""
    return -goal.margin(torch.softmax(scores, 1))
