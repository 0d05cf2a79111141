"""What an attack climbs: each takes scores (B, K), a `Goal` of B rows, and gives a value (B,); larger is more adversarial.

A loss never mixes rows, so an example's gradient doesn't depend on its neighbours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robustly.core.specs import register
from robustly.goals import Goal

SHARPNESS = 10.0
"""The size that `jitter` brings the largest score to before the softmax (alpha in the paper)."""


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

    Untargeted -(z_y - max_{k != y} z_k) / (z_(1) - z_(3)) over the sorted scores. Targeted
    -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), with three classes the last score stands in for the fourth. With two
    classes no third score exists and the ratio would be constant, its gradient zero: the loss then is `margin`.
    """
    if scores.shape[1] < 3:
        return margin(scores, goal)
    top = scores.sort(1, descending=True).values
    last = top.shape[1] - 1  # with three classes the third stands in for the fourth
    third, fourth = top[:, 2], top[:, min(3, last)]
    if goal.target is None:
        return -goal.margin(scores) / (top[:, 0] - third + 1e-12)
    own = scores.gather(1, goal.y[:, None]).squeeze(1)
    wanted = scores.gather(1, goal.target[:, None]).squeeze(1)
    return -(own - wanted) / (top[:, 0] - 0.5 * (third + fourth) + 1e-12)


@register("loss", paper="margin of the softmax probabilities, as in Sadiku et al. and the Adaptive-PGD family")
def probability_margin(scores: Tensor, goal: Goal) -> Tensor:
    """Minus the margin of the softmax probabilities: bounded, and flat where an example is beyond hope or done."""
    return -goal.margin(torch.softmax(scores, 1))


@register("loss", paper="Gowal et al. 2019, arXiv:1910.09338, section 3; as in FAB-T of Croce & Hein 2020")
def difference(scores: Tensor, goal: Goal) -> Tensor:
    """z_t - z_y of the target and the true label, whichever class is between them; without a target, `margin`."""
    if goal.target is None:
        return margin(scores, goal)
    return (scores.gather(1, goal.target[:, None]) - scores.gather(1, goal.y[:, None])).squeeze(1)


@register("loss", paper="Schwinn et al. 2021, arXiv:2105.10304, eq. 5, without its noise")
def jitter(scores: Tensor, goal: Goal) -> Tensor:
    """Distance of the softmax of scores of largest size SHARPNESS from the label; targeted, minus that from the target.

    |softmax(10 z / max_k |z_k|) - onehot(y)|_2: the scale of the scores doesn't matter, and every score pulls, not only
    the largest two. The attack `jitter` adds the paper's noise.
    """
    return jittered(scores, goal, torch.zeros_like(scores))


def jittered(scores: Tensor, goal: Goal, noise: Tensor) -> Tensor:
    """The same with noise (B, K) added to the softmax."""
    largest = scores.abs().amax(1, keepdim=True).clamp_min(1e-30)
    label = goal.y if goal.target is None else goal.target
    away = torch.softmax(SHARPNESS * scores / largest, 1) + noise - F.one_hot(label, scores.shape[1])
    length = away.square().sum(1).clamp_min(1e-30).sqrt()
    return length if goal.target is None else -length
