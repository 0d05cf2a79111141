"""PGD for l0: long steps along the gradient, of which the set keeps the best coordinates; bisection of their number."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor

from robustly.core.keys import fold
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.losses import cross_entropy
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case, Start, uniform
from robustly.steps.counts import at_least_one
from robustly.steps.radii import ball_of, firmly, width_of
from robustly.steps.walk import positive, still_open
from robustly.threats.l0 import L0Ball

SAY = "l0, say l0:20"


class Search(NamedTuple):
    """What bisection knows; one row an example.

    low, high: (B,), counts of coordinates that failed, and that worked. best: (B, ...), the point that worked.
    """

    low: Tensor
    high: Tensor
    best: Tensor


@spec("attack", paper="Croce & Hein 2019, arXiv:1909.05040, section 3", sets=("L0Ball",))
def pgd_l0(
    steps: int = 20,
    binary_steps: int = 8,
    size: float = 0.15,
    loss: Loss = cross_entropy,
    start: Start = uniform,
) -> Attack:
    """Projected gradient ascent in the l0 ball, with steps of fixed l1 length.

    Within a finite eps it is one walk in that ball. With eps = inf it bisects the number of coordinates, by its geometric
    mean, in `binary_steps` walks: the first begins at `start`, the next ones at the best point so far, projected into
    their smaller ball (there is one from the first walk that succeeds). The paper counts pixels, all channels of one
    together; l0 here counts coordinates, which is the same for images of one channel.
    A walk costs at most steps + 1 forward and `steps` backward passes, and ends at its first hit.

    Args:
        steps: of one walk. binary_steps: walks, where eps is infinite. loss: what to climb. start: where to begin.
        size: l1 length of a step per coordinate of the input, in widths of its range; the authors' is 0.15 for images.

    Raises:
        UsageError: steps or binary_steps < 1, size not above 0; when it runs, a set other than l0, or an unbounded domain.
    """
    at_least_one((steps, "steps"), (binary_steps, "binary_steps"))
    positive(size, "size")

    def attack(case: Case) -> None:
        around = _ball(case)
        width_of(around, "pgd_l0")
        most = (around.high > around.low).flatten(1).sum(1).to(around.eps)
        state = Search(torch.zeros_like(most), most + 1, around.x)
        for turn in range(binary_steps):
            case, (state, most) = still_open(case, (state, most))
            if not len(case.key):
                return
            around = _ball(case)
            middle = (state.low.clamp_min(1) * state.high).sqrt().floor().clamp(max=most)
            middle = torch.maximum(middle, (state.low + 1).clamp(max=most))
            endless = torch.isinf(around.eps)
            due = torch.where(endless, state.high - state.low > 1, turn == 0)
            inner = replace(around, eps=torch.where(endless, middle, around.eps))
            begin = cast(Tensor, start(case._replace(around=inner, key=fold(case.key, turn))))
            begin = torch.where(column(state.high <= most, begin), inner.project(state.best), begin)
            z, met = walk(case, inner, begin, due, steps, size, loss)
            state = Search(
                torch.where(due & ~met, inner.eps, state.low),
                torch.where(met, inner.distance(z), state.high),
                torch.where(column(met, z), z, state.best),
            )

    return attack


def walk(
    case: Case, inner: L0Ball, z: Tensor, due: Tensor, steps: int, size: float, loss: Loss
) -> tuple[Tensor, Tensor]:
    """A walk of the rows `due`, bool (B,), within `inner`: where it ended (B, ...), and whether it met the goal."""
    length = size * z[0].numel() * width_of(inner, "pgd_l0")
    met = torch.zeros_like(due)
    for _ in range(steps):
        ask = due & ~met & case.oracle.open
        answer = case.oracle.gradient(z, loss, case.goal, where=ask)
        met = met | (ask & firmly(case.goal, answer.scores))
        step = length * answer.grad / column(answer.grad.flatten(1).abs().sum(1).clamp_min(1e-30), z)
        z = torch.where(column(ask & ~met, z), inner.project(z + step), z)
    ask = due & ~met & case.oracle.open
    return z, met | (ask & firmly(case.goal, case.oracle.scores(z, ask)))


def _ball(case: Case) -> L0Ball:
    around = ball_of(case, "pgd_l0", (L0Ball,), SAY)
    assert isinstance(around, L0Ball)
    return around
