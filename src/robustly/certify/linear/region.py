"""Where a program's inputs lie: a box, and norm balls that they lie in as well; the least of a linear function there.

A linear function over a ball cut by a box is bounded by Lagrangian duality: every multiplier gives a valid bound, so a
multiplier that was found roughly costs tightness and never soundness.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from robustly.certify.enclosures.entry import enter
from robustly.certify.linear.rules import FINE, Box
from robustly.threats.base import PerturbationSet


@dataclass(frozen=True)
class NormBall:
    """|x - centre| <= eps. norm: "l2", "l1" or "l0". centre (B, *shape); eps (B,)."""

    norm: str
    centre: Tensor
    eps: Tensor

    def take(self, index: Tensor) -> NormBall:
        """Some rows."""
        return NormBall(self.norm, self.centre[index], self.eps[index])

    def to(self, dtype: torch.dtype) -> NormBall:
        """In another dtype."""
        return NormBall(self.norm, self.centre.to(dtype), self.eps.to(dtype))


@dataclass(frozen=True)
class Region:
    """low <= x <= high, (B, *shape), float64, finite where anything is to be known; and x in every one of `balls`."""

    low: Tensor
    high: Tensor
    balls: tuple[NormBall, ...] = ()

    @classmethod
    def of(cls, around: PerturbationSet) -> Region | None:
        """All that the set's `contains` accepts; None for a set without bounds (a discrete one)."""
        value = enter(around)
        if value is None:
            return None
        return cls(value.lower, value.upper, tuple(NormBall(i.norm, i.centre, i.eps) for i in value.images))

    def __len__(self) -> int:
        return len(self.low)

    @property
    def box(self) -> Box:
        """The box alone."""
        return Box(self.low, self.high)

    def take(self, index: Tensor) -> Region:
        """Some rows."""
        return Region(self.low[index], self.high[index], tuple(b.take(index) for b in self.balls))

    def to(self, dtype: torch.dtype) -> Region:
        """In another dtype (float32: for search, where no bound has to hold)."""
        return Region(self.low.to(dtype), self.high.to(dtype), tuple(b.to(dtype) for b in self.balls))

    def within(self, low: Tensor, high: Tensor) -> Region:
        """The same balls in a box inside (input splitting)."""
        return replace(self, low=torch.maximum(self.low, low), high=torch.minimum(self.high, high))

    def least(self, slope: Tensor) -> Tensor:
        """At most min <slope, x> over the region, (B, S) for slopes (B, S, *shape)."""
        g = slope.flatten(2)
        centre, reach, spare = self._halves
        size = g.abs()
        found = _dot(g, centre) - _dot(size, reach)
        for ball in self.balls:
            low, high = self.low.flatten(1).unsqueeze(1), self.high.flatten(1).unsqueeze(1)
            middle = ball.centre.flatten(1).unsqueeze(1)
            room = torch.where(g < 0, high - middle, middle - low).clamp_min(0)
            gain = _GAINS[ball.norm](size, room, ball.eps)
            found = torch.maximum(found, _dot(g, middle) - gain - _dot(size, spare))
        return found

    @cached_property
    def _halves(self) -> tuple[Tensor, Tensor, Tensor]:
        """Centre, radius and what our own rounding takes, the radius widened by it, each (B, 1, n)."""
        low, high = self.low.flatten(1).unsqueeze(1), self.high.flatten(1).unsqueeze(1)
        spare = FINE * torch.maximum(low.abs(), high.abs())
        return (low + high) / 2, (high - low) / 2 + spare, spare


def _dot(g: Tensor, x: Tensor) -> Tensor:
    """(B, S) of (B, S, n) and (B, 1, n)."""
    return torch.matmul(g, x.transpose(1, 2)).squeeze(2)


def _l2(size: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """Max <size, d> with 0 <= d <= room, |d|_2 <= eps: for every mu > 0 at most

    sum_i max_d (size_i d - mu d^2 / 2) + mu eps^2 / 2, least where clip(size / mu, room) has length eps.
    """
    eps = eps[:, None]
    with torch.no_grad():
        mu = size.norm(dim=2) / eps.clamp_min(1e-30)  # no coordinate clipped: the largest mu that can be best
        for _ in range(12):  # as in the projection: with the clipped held fixed, solve for the rest
            held = size >= mu.unsqueeze(2) * room
            spent = torch.where(held, room, 0).square().sum(2)
            free = torch.where(held, 0, size).square().sum(2)
            mu = torch.minimum(mu, (free / (eps.square() - spent).clamp_min(1e-30)).sqrt())
        mu = mu.clamp_min(1e-30).unsqueeze(2)
    move = torch.minimum(size.detach() / mu, room)
    return (size * move - mu * move.square() / 2).sum(2) + mu.squeeze(2) * eps.square() / 2


def _l1(size: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """Max <size, d> with 0 <= d <= room, |d|_1 <= eps: for every mu >= 0 at most sum_i (size_i - mu)+ room_i + mu eps."""
    with torch.no_grad():
        order = size.argsort(2, descending=True)
        filled = room.expand_as(size).gather(2, order).cumsum(2) < eps[:, None, None]
        place = filled.sum(2, keepdim=True).clamp_max(size.shape[2] - 1)
        mu = size.gather(2, order.gather(2, place))
        mu = torch.where(filled.all(2, keepdim=True), 0, mu)
    return ((size - mu).clamp_min(0) * room).sum(2) + mu.squeeze(2) * eps[:, None]


def _l0(size: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """The sum of the eps largest products: that many coordinates may move freely."""
    best = (size * room).sort(2, descending=True).values
    counted = torch.arange(1, best.shape[2] + 1, device=best.device) <= eps.floor()[:, None, None]
    return torch.where(counted, best, 0).sum(2)


_GAINS = {"l2": _l2, "l1": _l1, "l0": _l0}
