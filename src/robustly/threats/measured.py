"""Sets of all images at most eps from the input by some measure, whatever it is: projected by going back towards the input."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.rows import column
from robustly.threats.base import Domain, Smooth
from robustly.threats.coordinates import within

HALVINGS = 14
"""Bisections of the way from the input to a point."""
SLACK = 1e-9
"""Relative slack of membership: the measures run in float64, whose last bits differ by machine."""


@dataclass(frozen=True)
class MeasuredSet(Smooth):
    """All images of the domain whose measure from x is at most eps.

    x: float32 (B, C, H, W). eps: float64 (B,). stride: float32 (B,), the length of the step of `steepest` that moves the
    measure by about one unit.
    """

    x: Tensor
    eps: Tensor
    domain: Domain
    stride: Tensor

    @abstractmethod
    def measure(self, z: Tensor) -> Tensor:
        """Float64, broadcastable to z: how far from x each part is that is measured on its own; 0 at x."""

    def contains(self, z: Tensor) -> Tensor:
        """Bool (B,): in the domain, and measured at most eps everywhere, computed in float64."""
        return (self.distance(z) <= self.eps * (1 + SLACK)) & within(z, self.x, self.domain, None)

    def distance(self, z: Tensor) -> Tensor:
        """Float64 (B,): the largest measure of any part."""
        return self.measure(z).flatten(1).amax(1)

    @property
    def radius(self) -> Tensor:
        return self.eps.to(self.x.dtype)

    def project(self, z: Tensor) -> Tensor:
        """A member between x and z: of 2^14 steps on the way of each part, about the last that is inside.

        Not the nearest member. Each point it returns was itself measured inside, so none is left to rounding.
        """
        z, eps = z.clamp(self.domain.low, self.domain.high), column(self.eps, z)
        whole, change, out = self.measure(z) <= eps, z - self.x, self.x
        low = torch.zeros_like(whole, dtype=z.dtype)
        high = torch.ones_like(low)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            point = (self.x + middle * change).clamp(self.domain.low, self.domain.high)
            inside = self.measure(point) <= eps
            low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
            out = torch.where(inside, point, out)
        return torch.where(whole, z, out)

    def steepest(self, g: Tensor) -> Tensor:
        """The gradient's own direction, as long as moves the measure by about one unit."""
        length = g.flatten(1).norm(dim=1).clamp_min(1e-30)
        return column(self.stride, g) * (g / column(length, g))

    def sample(self, key: Tensor) -> Tensor:
        """Uniform noise over the range, drawn back into the set, then to a random share of its way."""
        noise = self.domain.low + keys.uniform(keys.fold(key, 1), self.x.shape[1:]) * (
            self.domain.high - self.domain.low
        )
        edge = self.project(noise)
        share = column(keys.uniform(keys.fold(key, 2), ()), edge)
        return self.project(self.x + share * (edge - self.x))

    def take(self, index: Tensor) -> Self:
        rows = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: rows[name][index] for name in rows if isinstance(rows[name], Tensor)})

    def paced(self) -> Self:
        """The same set with its stride: the longest of 20 halvings of a fixed noise that stays inside, over eps."""
        row = keys.normal(keys.from_ids(0, ["stride"], self.x.device), self.x.shape[1:])
        noise = row / row.norm() * row.numel() ** 0.5 * (self.domain.high - self.domain.low)
        reach = torch.zeros_like(self.stride)
        for halving in range(20):
            point = (self.x + noise * 0.5**halving).clamp(self.domain.low, self.domain.high)
            fits = (self.distance(point) <= self.eps) & (reach == 0)
            reach = torch.where(fits, 0.5**halving * noise.norm(), reach)
        return replace(self, stride=torch.where(self.eps > 0, reach / self.radius.clamp_min(1e-30), 0))
