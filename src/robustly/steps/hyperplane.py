"""The least change within bounds that brings a linear function to zero: what attacks on the decision border step by."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.threats.ball import Ball
from robustly.threats.base import PerturbationSet
from robustly.threats.coordinates import bounds
from robustly.threats.l1 import L1Ball
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall

ORDER: dict[type[PerturbationSet], float] = {LinfBall: float("inf"), L2Ball: 2.0, L1Ball: 1.0}
DUAL = {float("inf"): 1.0, 2.0: 2.0, 1.0: float("inf")}
"""The order of the dual norm: how much a linear function can fall within a unit of the norm."""
ENDLESS = 1e30  # a level that every bound has met
GAIN = 1e-6  # a relative rise of the level that is no more than rounding
ROUNDS = 64  # of Newton's method; it stops after 3 to 8 on images


class Bounds(NamedTuple):
    """Where each coordinate may lie, both (B, ...); infinite where there is no bound."""

    low: Tensor
    high: Tensor

    def clip(self, z: Tensor) -> Tensor:
        """The nearest point between them."""
        return torch.minimum(torch.maximum(z, self.low), self.high)


def order_of(around: PerturbationSet, who: str) -> float:
    """The order p of the norm that a ball is measured in: inf, 2 or 1.

    Raises:
        UsageError: the set is no such ball; `who` is the attack that cannot walk in it.
    """
    found = next((p for kind, p in ORDER.items() if isinstance(around, kind)), None)
    if found is None:
        raise UsageError(f"{who} works in linf, l2 and l1 balls, not in {type(around).__name__}; say linf:0.1.")
    return found


def widest(around: Ball) -> Bounds:
    """The domain and the mask, without the bounds that a finite eps sets."""
    return Bounds(*bounds(around.x, around.domain, around.mask))


def length(change: Tensor, p: float) -> Tensor:
    """The p-norm of each change (B, ...), (B,)."""
    if p == float("inf"):  # as vector_norm gives it, several times as fast
        return change.flatten(1).abs().amax(1)
    return torch.linalg.vector_norm(change.flatten(1), ord=p, dim=1)


def onto_plane(z: Tensor, value: Tensor, slope: Tensor, within: Bounds, p: float) -> Tensor:
    """The change d (B, ...) of least p-norm with value + <slope, d> = 0 and z + d within the bounds.

    Where the bounds don't reach the plane, the change towards it as far as they go; where the slope is zero, none.
    value: (B,), of the function at z; slope: (B, ...), its gradient. Croce & Hein 2020, arXiv:1907.02044, section 2.1.

    With v_i = 1 for linf and |slope_i| for l2, coordinate i moves by min(t v_i, room_i) for one level t a row: the
    optimality conditions. What that gains is concave and piecewise linear in t, so Newton's method from below meets the
    exact t after as many rounds as there are distinct pieces on its way. For l1 the steepest coordinates move first,
    each as far as it can.
    """
    return _onto(z, value, slope, _by_steepness(slope) if p == 1 else None, within, p)


def step_towards(z: Tensor, x: Tensor, value: Tensor, slope: Tensor, within: Bounds, p: float) -> tuple[Tensor, Tensor]:
    """The changes that bring z, and x, onto the same plane {u: value + <slope, u - z> = 0}; both (B, ...)."""
    at_x = value + (slope * (x - z)).flatten(1).sum(1)
    order = _by_steepness(slope) if p == 1 else None
    return _onto(z, value, slope, order, within, p), _onto(x, at_x, slope, order, within, p)


def _by_steepness(slope: Tensor) -> Tensor:
    """Coordinates (B, n), steepest first."""
    return slope.flatten(1).abs().argsort(dim=1, descending=True, stable=True)


def _onto(z: Tensor, value: Tensor, slope: Tensor, order: Tensor | None, within: Bounds, p: float) -> Tensor:
    flat = slope.flatten(1)
    down = -value.sign()[:, None] * flat.sign()
    far = torch.where(down > 0, within.high.flatten(1) - z.flatten(1), z.flatten(1) - within.low.flatten(1))
    room = torch.where(down != 0, far.clamp_min(0), 0)
    largest = flat.abs().amax(1).clamp_min(torch.finfo(flat.dtype).tiny)
    steep, need = flat.abs() / largest[:, None], value.abs() / largest  # neither units nor the function's scale matter
    if order is not None:
        size = _greedy(steep, room, need, order)
    else:
        speed = steep if p == 2 else torch.ones_like(steep)
        size = torch.minimum(_level(steep, speed, room, need)[:, None] * speed, room)
    return (down * size).view_as(z)


def _level(steep: Tensor, speed: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """The t (B,) at which sum_i steep_i min(t speed_i, room_i) is what is needed, or one beyond all bounds."""
    gain, most = steep * speed, steep * room
    level = (need / gain.sum(1).clamp_min(1e-30)).clamp(max=ENDLESS)
    for _ in range(ROUNDS):
        free = level[:, None] * speed < room
        spent = torch.where(free, 0, most).sum(1)
        further = ((need - spent) / torch.where(free, gain, 0).sum(1)).clamp(max=ENDLESS)
        rises = further > level * (1 + GAIN)  # a row that has arrived stays as it is, whoever else goes on
        if not rises.any():
            break
        level = torch.where(rises, further, level)
    return level


def _greedy(steep: Tensor, room: Tensor, need: Tensor, order: Tensor) -> Tensor:
    """Room of the steepest coordinates first, until sum_i steep_i size_i is what is needed; (B, n)."""
    room = room.gather(1, order).clamp(max=ENDLESS)
    gain = steep.gather(1, order) * room
    before = gain.cumsum(1) - gain
    part = ((need[:, None] - before).clamp_min(0) / gain.clamp_min(1e-38)).clamp(max=1)
    return torch.zeros_like(steep).scatter(1, order, part * room)


def share(first: Tensor, second: Tensor, most: float) -> Tensor:
    """first / (first + second), (B,), at most `most`; 0 where both are 0."""
    return (first / (first + second).clamp_min(1e-30)).clamp(max=most)


def blend(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """(1 - weight) a + weight b for a weight (B,)."""
    part = column(weight, a)
    return (1 - part) * a + part * b
