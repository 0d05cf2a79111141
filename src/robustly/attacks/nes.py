"""NES: the gradient estimated from random pairs of points, and followed by signs with momentum."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.losses import cross_entropy
from robustly.oracle import Answer
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case, Start, Step, clean
from robustly.steps.estimates import antithetic, climb, gaussian, pairs_of
from robustly.steps.transforms import walkable
from robustly.steps.walk import positive, zeros

DECAY = 0.9  # share of the old direction kept
PATIENCE = 5  # estimates that are looked back on
COOLER = 2  # the step is divided by it when the loss has fallen over them
LEAST = 0.005  # share of the first step below which none is taken


class Slope(NamedTuple):
    """A point (B, ...), the running mean of the estimates (B, ...), the step as a share of the first (B,), and the last
    PATIENCE losses (B, PATIENCE), the oldest first, infinite where there are fewer."""

    z: Tensor
    mean: Tensor
    size: Tensor
    values: Tensor


@spec("attack", paper="Ilyas et al. 2018, arXiv:1804.08598, section 2.1", needs="scores", sets=("LinfBall", "L2Ball"))
def nes(
    queries: int = 5000,
    samples: int = 50,
    size: float = 0.2,
    sigma: float = 0.001,
    loss: Loss = cross_entropy,
    start: Start = clean,
) -> Attack:
    """Natural evolution strategies: estimate the gradient of the loss from antithetic normal samples, and step along it.

    A step asks `samples` points, half of them z + sigma u and the others z - sigma u, and moves by the sign of the running
    mean of the estimates (its unit vector for l2, which the paper doesn't have). As in the authors' code a step is halved
    when the loss has fallen over five estimates; here for each example by itself. The samples are put inside the set, so
    that each may be the find. A surviving example costs exactly `queries` forward passes.

    Args:
        queries: points asked an example.
        samples: of one estimate.
        size: the first step, as a fraction of eps; 0.01 / 0.05 in the authors' code.
        sigma: how far samples are from the point, in widths of the domain.
        loss: what must rise.
        start: where to begin.

    Raises:
        UsageError: queries or samples < 1, size or sigma not above 0; when it runs, a set other than a linf or l2 ball, an
            infinite eps, or an unbounded domain.
    """
    positive(sigma, "sigma")
    return climb(
        antithetic(gaussian, pairs_of(samples), sigma), loss, start, cooled(positive(size, "size")), queries, "nes"
    )


def cooled(size: float) -> Step:
    """A step of `size` times eps along the running mean of the estimates, smaller where the loss no longer rises."""

    def init(case: Case, z: Tensor) -> Slope:
        return Slope(z, torch.zeros_like(z), zeros(case) + 1, zeros(case)[:, None].expand(-1, PATIENCE) + torch.inf)

    def update(case: Case, state: Slope, answer: Answer, index: int) -> Slope:
        around = walkable(case)
        values = torch.cat((state.values[:, 1:], answer.value[:, None]), 1)
        fallen = torch.isfinite(values).all(1) & (values[:, -1] < values[:, 0])
        share = torch.where(fallen, (state.size / COOLER).clamp_min(LEAST), state.size)
        values = torch.where(fallen[:, None], torch.inf, values)
        mean = DECAY * state.mean + (1 - DECAY) * answer.grad
        far = column(size * share * around.radius, mean)
        return Slope(around.project(state.z + far * around.steepest(mean)), mean, share, values)

    return Step(init, lambda case, state: state.z, update, lambda state: state.z)
