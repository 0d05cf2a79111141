"""The step of least remaining size that reaches a plane within a trust region: what walks along the border step by.

For a change v of an input it solves, over delta,

    min size(v + delta)  subject to  <b, delta> = c,  |delta|_2 <= radius,  low <= delta <= high

(Brendel et al. 2019, arXiv:1907.01003, eq. 1), for a whole batch at once. With the plane's multiplier as beta and the trust
region's as 1 / level, the minimiser of the Lagrangian is a proximal operator, delta = prox(level * size, at beta b), one
coordinate at a time. So beta is the root of a monotone function, found by Newton's method held in a bracket, and the
strongest level whose step still fits the trust region is found by bisection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.threats.base import PerturbationSet
from robustly.threats.l0 import L0Ball
from robustly.threats.l1 import L1Ball
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall

ROOTS, LEVELS = 7, 10  # rounds of Newton's method, and of the bisection
SPAN = 7.0  # thresholds are looked for within a factor of exp(7), a thousand, of the radius
MISS = 0.02  # share of the way to the plane by which a step may miss it


class Plane(NamedTuple):
    """One row an example, flattened: home (B, n), the step that undoes the change; slope b (B, n), of largest size 1; gap c
    and radius (B, 1); low, high (B, n), the bounds of the step."""

    home: Tensor
    slope: Tensor
    gap: Tensor
    radius: Tensor
    low: Tensor
    high: Tensor


Pull = Callable[[Plane, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(plane, beta b (B, n), strength (B, 1) from 0 to 1) -> (step, its derivative in beta b), both (B, n) and without bounds."""


def pull_linf(plane: Plane, at: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    """The remaining change within a height that falls to 0 with the strength."""
    top = (1 - strength) * (plane.home.abs().amax(1, keepdim=True) + plane.radius)
    away = at - plane.home
    return plane.home + away.clamp(-top, top), (away.abs() < top).to(at.dtype)


def pull_l2(plane: Plane, at: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    """A mixture of the way home and the way to the plane."""
    return strength * plane.home + (1 - strength) * at, (1 - strength).expand_as(at)


def pull_l1(plane: Plane, at: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    """The remaining change thresholded softly."""
    away, level = at - plane.home, _threshold(plane, strength)
    return plane.home + (away.abs() - level).clamp_min(0).copysign(away), (away.abs() > level).to(at.dtype)


def pull_l0(plane: Plane, at: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    """A coordinate goes all the way home where that costs less than it gains."""
    inside = at.clamp(plane.low, plane.high)
    gain = (at - plane.home).square() - (at - inside).square()
    kept = gain > _threshold(plane, strength).square()
    return torch.where(kept, inside, plane.home), kept.to(at.dtype)


def _threshold(plane: Plane, strength: Tensor) -> Tensor:
    return plane.radius * (SPAN * (2 * strength - 1)).exp()


PULLS: dict[type[PerturbationSet], Pull] = {
    LinfBall: pull_linf,
    L2Ball: pull_l2,
    L1Ball: pull_l1,
    L0Ball: pull_l0,
}


def step_along(
    pull: Pull, change: Tensor, slope: Tensor, gap: Tensor, radius: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """The step (B, ...) of least remaining size onto the plane.

    change, slope: (B, ...), v and b. gap: (B,), c. radius: (B,). low, high: (B, ...), bounds of v + step. Where the
    plane is out of reach within the radius, the step goes towards it as far as that. Where the slope is 0 there is none.
    """
    flat, steep = change.flatten(1), slope.flatten(1)
    largest = steep.abs().amax(1, keepdim=True).clamp_min(torch.finfo(steep.dtype).tiny)
    low, high = low.flatten(1) - flat, high.flatten(1) - flat
    plane = Plane(-flat, steep / largest, gap[:, None] / largest, radius[:, None], low, high)
    nearest, beta = _root(plane, lambda at: (at, torch.ones_like(at)), torch.zeros_like(plane.gap))
    length = nearest.norm(dim=1, keepdim=True)
    step = nearest * (plane.radius / length.clamp_min(1e-30)).clamp(max=1)
    within = length <= plane.radius
    weak, strong = torch.zeros_like(plane.gap), torch.ones_like(plane.gap)
    for _ in range(LEVELS):
        middle = (weak + strong) / 2
        tried, found = _root(plane, lambda at, s=middle: pull(plane, at, s), beta)
        missed = plane.gap - (plane.slope * tried).sum(1, keepdim=True)  # beyond the border is no miss
        fits = within & (tried.norm(dim=1, keepdim=True) <= plane.radius) & (missed <= MISS * plane.gap.abs() + 1e-6)
        step, beta = torch.where(fits, tried, step), torch.where(fits, found, beta)
        weak, strong = torch.where(fits, middle, weak), torch.where(fits, strong, middle)
    return torch.where(largest > torch.finfo(steep.dtype).tiny, step, 0).view_as(change)


def _root(plane: Plane, at: Callable[[Tensor], tuple[Tensor, Tensor]], beta: Tensor) -> tuple[Tensor, Tensor]:
    """The step at the beta (B, 1) at which <b, step> = c, and that beta."""
    low, high = torch.full_like(beta, -torch.inf), torch.full_like(beta, torch.inf)
    pace = plane.gap.abs() / plane.slope.square().sum(1, keepdim=True).clamp_min(1e-12) + 1e-6
    for _ in range(ROOTS):
        step, rate = at(beta * plane.slope)
        free = (step > plane.low) & (step < plane.high)
        step = step.clamp(plane.low, plane.high)
        missing = plane.gap - (plane.slope * step).sum(1, keepdim=True)
        low, high = torch.where(missing > 0, beta, low), torch.where(missing < 0, beta, high)
        rise = (plane.slope.square() * rate * free).sum(1, keepdim=True)
        newton = beta + missing / rise.clamp_min(1e-12)
        inside = (rise > 1e-12) & (newton > low) & (newton < high)
        pace = 4 * pace
        further = torch.where(missing > 0, beta + pace, beta - pace)
        middle = torch.where(torch.isfinite(low) & torch.isfinite(high), (low + high) / 2, further)
        beta = torch.where(missing == 0, beta, torch.where(inside, newton, middle))
    step = at(beta * plane.slope)[0].clamp(plane.low, plane.high)
    missing = plane.gap - (plane.slope * step).sum(1, keepdim=True)
    short = (missing > MISS * plane.gap.abs()) & torch.isfinite(high)  # a jump: stop on its far side, beyond the border
    beta = torch.where(short, high, beta)
    step = torch.where(short, at(beta * plane.slope)[0].clamp(plane.low, plane.high), step)
    return step, beta
