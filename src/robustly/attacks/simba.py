"""SimBA: one direction of a basis at a time, kept where the loss rises."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.losses import cross_entropy
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case
from robustly.steps.bases import Bases, Basis, pixel
from robustly.steps.canvas import as_images, image_shape
from robustly.steps.cores import core_of
from robustly.steps.counts import at_least_one
from robustly.steps.radii import width_of
from robustly.steps.walk import positive, still_open
from robustly.threats.ball import Ball
from robustly.threats.base import Smooth
from robustly.threats.l1 import L1Ball
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall

KINDS = (LinfBall, L2Ball, L1Ball)


class Place(NamedTuple):
    """Where the search is; one row an example. z: (B, ...), and its loss, value (B,). order: int64 (B, N), the numbers of
    the directions as they come. able: int64 (B,), how many of them can be of use. tried: int64 (B,), directions done with.
    back: bool (B,), the next point is on the other side of the direction."""

    z: Tensor
    value: Tensor
    order: Tensor
    able: Tensor
    tried: Tensor
    back: Tensor


@spec(
    "attack",
    paper="Guo et al. 2019, arXiv:1905.07121, algorithm 1",
    needs="scores",
    sets=("LinfBall", "L2Ball", "L1Ball", "GridSet", "BothSet"),
)
def simba(queries: int = 5000, size: float = 0.2, basis: Bases = pixel, loss: Loss = cross_entropy) -> Attack:
    """Simple black-box attack: go a step along a random direction of a basis, or else the other way, if the loss rises.

    With the basis `pixel` a direction is one number of the input, with `dct` a cosine over one channel, low frequencies
    first. Each direction is tried once, in an order of each example's own; when all were, the same order is gone through
    again. Points are projected into the set, whose eps may be infinite. A surviving example costs exactly `queries` forward
    passes, of which the first is the input's.

    Args:
        queries: points asked an example.
        size: length of a step, in widths of the domain.
        basis: `pixel` or `dct`.
        loss: what must rise; the paper's falling probability of the label is the rising cross entropy.

    Raises:
        UsageError: queries < 1, size not above 0; when it runs, a set that isn't made of a linf, l2 or l1 ball, or an
            unbounded domain.
    """
    at_least_one((queries, "queries"))
    positive(size, "size")

    def attack(case: Case) -> None:
        ball = core_of(case, "simba", KINDS, "linf, l2 or l1")
        step = size * width_of(ball, "simba")
        channels, height, width = image_shape(ball.x.shape[1:])
        own = Basis(*(part.to(ball.x.device) for part in basis(height, width)))
        state = _begin(case, ball, own, channels, loss)
        for _ in range(queries - 1):
            case, state = still_open(case, state)
            if not len(case.key):
                return
            turn = state.tried % state.able
            way = own.vectors(state.order.gather(1, turn[:, None]).squeeze(1), channels).reshape(state.z.shape)
            point, state, last = _next(cast(Smooth, case.around), state, step * way)
            state = _judged(state, point, loss(case.oracle.scores(point), case.goal), last)

    return attack


def _next(around: Smooth, state: Place, change: Tensor) -> tuple[Tensor, Place, Tensor]:
    """The point to ask, (B, ...), the search with the side that it is on, and whether that side is the direction's last, bool
    (B,).

    A side on which the projection leads back to where the search is, say below a black pixel, is passed over: its answer
    is known.
    """
    ahead, behind = around.project(state.z + change), around.project(state.z - change)
    stuck, walled = ((point == state.z).flatten(1).all(1) for point in (ahead, behind))
    back = state.back | (stuck & ~walled)
    return torch.where(column(back, ahead), behind, ahead), state._replace(back=back), back | walled


def _begin(case: Case, ball: Ball, basis: Basis, channels: int, loss: Loss) -> Place:
    """The input, asked, and the order of the directions: by band, then at random; those that a mask forbids at the end."""
    x = ball.x
    band = basis.band.flatten().repeat(channels).expand(len(x), -1)
    able = torch.full_like(case.goal.y, band.shape[1])
    if basis.down.count_nonzero() == len(basis.down):  # directions of one number each
        fixed = (as_images(ball.high) <= as_images(ball.low)).flatten(1)
        able = (able - fixed.sum(1)).clamp_min(1)
        band = torch.where(fixed, band.amax() + 1, band)
    order = ((band << 32) + keys.bits(keys.fold(case.key, 0), band.shape[1])).argsort(dim=1, stable=True)
    value = loss(case.oracle.scores(x), case.goal)
    nothing = torch.zeros_like(case.goal.y)
    return Place(x, value, order, able, nothing, nothing > 0)


def _judged(state: Place, point: Tensor, value: Tensor, last: Tensor) -> Place:
    """Keep the point where its loss is higher; where it isn't, go to the other side, and on after the last."""
    better = value > state.value
    done = better | last
    return state._replace(
        z=torch.where(column(better, point), point, state.z),
        value=torch.where(better, value, state.value),
        tried=state.tried + done.long(),
        back=~done,
    )
