"""Every number may take any value that its surroundings within eps pixels take: an outer box of small deformations.

Xiao et al. 2018, "Spatially Transformed Adversarial Examples", arXiv:1801.02612, move each pixel by a flow and read the
image there, bilinearly; they keep the flow smooth by a penalty. Here the flow is bounded by eps along each axis instead, and
every pixel and channel may take its own: a box, which holds every image such flows make and others too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.rows import Batch
from robustly.threats.base import Convex, Domain, repeat
from robustly.threats.coordinates import TOLERANCE, within
from robustly.threats.images import image_batch, plain, size

PART = 8
"""Distances are measured in these parts of a pixel, rounded up."""
FARTHEST = 16


@dataclass(frozen=True)
class FlowSet(Convex):
    """The box. reach: eps in pixels. low, high: float32 (B, C, H, W), its faces rounded inwards; they contain x."""

    x: Tensor
    reach: float
    domain: Domain
    low: Tensor
    high: Tensor

    def contains(self, z: Tensor) -> Tensor:
        """Each number between the extremes of its surroundings (slack TOLERANCE), in the domain."""
        return self._inside(z, self.reach)

    def distance(self, z: Tensor) -> Tensor:
        """Float64 (B,): the least flow that suffices, rounded up to an eighth of a pixel; infinite outside the set."""
        out = torch.full((len(z),), torch.inf, dtype=torch.float64, device=z.device)
        parts = [k / PART for k in range(math.ceil(self.reach * PART))]
        for far in [*parts, self.reach]:
            out = torch.where(torch.isinf(out) & self._inside(z, far), far, out)
        return out

    @property
    def radius(self) -> Tensor:
        return repeat(self.reach, self.x).to(self.x.dtype)

    def project(self, z: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(z, self.low), self.high)

    def steepest(self, g: Tensor) -> Tensor:
        """The sign, times how far each number can move a pixel of flow: steps are fractions of the box, not of its units."""
        room = torch.maximum(self.high - self.x, self.x - self.low)
        return g.sign() * room / max(self.reach, 1e-30)

    def linear_max(self, g: Tensor) -> Tensor:
        return torch.where(g > 0, self.high, torch.where(g < 0, self.low, self.x))

    def box(self) -> tuple[Tensor, Tensor]:
        """Float64 (low, high): of all that `contains` accepts, its slack included."""
        low, high = surroundings(self.x.double(), self.reach)
        slack = _slack(self.x)
        return (low - slack).clamp_min(self.domain.low), (high + slack).clamp_max(self.domain.high)

    def support(self, g: Tensor) -> Tensor:
        low, high = self.box()
        wide = g.double()
        rise = torch.maximum(wide * low, wide * high).flatten(1)
        return rise.sum(1) + 1e-12 * rise.abs().sum(1)

    def sample(self, key: Tensor) -> Tensor:
        """Uniform in the box."""
        return self.project(self.low + keys.uniform(key, self.x.shape[1:]) * (self.high - self.low))

    def take(self, index: Tensor) -> Self:
        return replace(self, x=self.x[index], low=self.low[index], high=self.high[index])

    def _inside(self, z: Tensor, far: float) -> Tensor:
        low, high = surroundings(self.x.double(), far)
        wide, slack = z.double(), _slack(self.x)
        fits = (wide >= low - slack) & (wide <= high + slack)
        return fits.flatten(1).all(1) & within(z, self.x, self.domain, None)


@dataclass(frozen=True)
class Flow:
    """Every number of an image may become any value within `eps` pixels of it along each axis, between pixels bilinear."""

    eps: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", size(self.eps, "pixels of flow"))
        if self.eps > FARTHEST:
            raise UsageError(f"a flow is at most {FARTHEST} pixels, got {plain(self.eps)}.")

    def at(self, x: Batch, domain: Domain = Domain()) -> FlowSet:  # noqa: B008 - frozen
        x = image_batch(x, domain, str(self))
        low, high = surroundings(x.double(), self.eps)
        up, down = x.new_tensor(torch.inf), x.new_tensor(-torch.inf)
        near_low, near_high = low.float(), high.float()
        near_low = torch.where(near_low.double() < low, torch.nextafter(near_low, up), near_low)
        near_high = torch.where(near_high.double() > high, torch.nextafter(near_high, down), near_high)
        return FlowSet(x, self.eps, domain, torch.minimum(near_low, x), torch.maximum(near_high, x))

    def __str__(self) -> str:
        return f"flow:{plain(self.eps)}"


def surroundings(x: Tensor, far: float) -> tuple[Tensor, Tensor]:
    """The least and the largest value, each like x (B, C, H, W), that the bilinear image takes within `far` pixels of each
    along both axes; beyond the border it goes on as at the border.

    A bilinear patch is extreme at its corners, so whole offsets and the edge of the square suffice.
    """
    whole = range(1, math.floor(far) + 1)
    offsets = sorted({0.0, *(float(k) for k in whole), *(-float(k) for k in whole), far, -far})
    low = high = x
    for down in offsets:
        rows = _moved(x, down, 2)
        for right in offsets:
            value = _moved(rows, right, 3)
            low, high = torch.minimum(low, value), torch.maximum(high, value)
    return low, high


def _moved(x: Tensor, offset: float, axis: int) -> Tensor:
    """x read that many pixels further along an axis."""
    last = x.shape[axis] - 1
    place = (torch.arange(last + 1, dtype=x.dtype, device=x.device) + offset).clamp(0, last)
    first = place.floor()
    share = (place - first).reshape(-1, *(1,) * (3 - axis))
    one, two = (x.index_select(axis, (first + k).clamp_max(last).long()) for k in (0, 1))
    return (1 - share) * one + share * two


def _slack(x: Tensor) -> Tensor:
    """Float64 (B, 1, 1, 1): for the rounding of float32."""
    return TOLERANCE * x.double().abs().flatten(1).amax(1).clamp_min(1.0)[:, None, None, None]
