"""Everything inside one square, anywhere in the image, may become anything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from robustly.core import keys
from robustly.core.rows import Batch, column
from robustly.threats.base import Domain, Smooth, repeat
from robustly.threats.coordinates import within
from robustly.threats.images import count, image_batch, plain

LARGEST = 4096


@dataclass(frozen=True)
class PatchSet(Smooth):
    """Images that differ from x (B, C, H, W) inside one square of `side` pixels, in all channels, within the domain."""

    x: Tensor
    side: int
    domain: Domain

    def contains(self, z: Tensor) -> Tensor:
        """What is changed fits into a square of `side`, and is in the domain; no tolerance."""
        return (self.distance(z) <= self.side) & within(z, self.x, self.domain, None)

    def distance(self, z: Tensor) -> Tensor:
        """Float64 (B,): the side of the least square that holds all that is changed."""
        changed = (z != self.x).any(1)
        return torch.maximum(_extent(changed.any(2)), _extent(changed.any(1))).double()

    @property
    def radius(self) -> Tensor:
        """Float (B,): the range of a pixel. The side is a number of pixels, and no length to step by."""
        return repeat(self.domain.high - self.domain.low, self.x).to(self.x.dtype)

    def project(self, z: Tensor) -> Tensor:
        """The nearest member: the change is kept in the square where it is largest, within the domain."""
        inside = z.clamp(self.domain.low, self.domain.high)
        gain = (z - self.x).square().sum(1) - (z - inside).square().sum(1)
        return torch.where(self._best(gain), inside, self.x)

    def steepest(self, g: Tensor) -> Tensor:
        """The sign of the gradient in the square where it is largest."""
        return torch.where(self._best(g.abs().sum(1)), g.sign(), 0)

    def sample(self, key: Tensor) -> Tensor:
        """Uniform numbers in a square anywhere."""
        low, width = self.domain.low, self.domain.high - self.domain.low
        down, across = (size - side for size, side in zip(self.x.shape[2:], self._sides, strict=True))
        top, left = (keys.integers(keys.fold(key, i), most + 1) for i, most in ((1, down), (2, across)))
        drawn = low + width * keys.uniform(keys.fold(key, 3), self.x.shape[1:])
        return torch.where(self._square(top, left), drawn.clamp(low, self.domain.high), self.x)

    def take(self, index: Tensor) -> Self:
        return replace(self, x=self.x[index])

    @property
    def _sides(self) -> tuple[int, int]:
        return min(self.side, self.x.shape[2]), min(self.side, self.x.shape[3])

    def _best(self, value: Tensor) -> Tensor:
        """Bool (B, 1, H, W): the square of the largest sum of value (B, H, W)."""
        if not self.side:
            return torch.zeros_like(self.x[:, :1], dtype=torch.bool)
        sums = F.avg_pool2d(value.double()[:, None], self._sides, stride=1)[:, 0]
        # squares that are alike but for rounding are taken in their order, which is then the same in any units
        share = sums.flatten(1) / sums.flatten(1).amax(1, keepdim=True).clamp_min(1e-300)
        place = (share * 2**16).round_().argmax(1)
        return self._square(place // sums.shape[2], place % sums.shape[2])

    def _square(self, top: Tensor, left: Tensor) -> Tensor:
        """Bool (B, 1, H, W): the square whose upper left corner is at these pixels, int64 (B,)."""
        height, width = self.x.shape[2:]
        y, x = (torch.arange(n, device=self.x.device) for n in (height, width))
        down = (y >= top[:, None]) & (y < top[:, None] + self._sides[0])
        across = (x >= left[:, None]) & (x < left[:, None] + self._sides[1])
        return (down[:, :, None] & across[:, None, :])[:, None] & column(torch.full_like(top, self.side) > 0, self.x)


@dataclass(frozen=True)
class Patch:
    """A square of eps pixels a side, anywhere, may be painted over: Patch(5). For images with a bounded range."""

    eps: int

    def __post_init__(self) -> None:
        """Refuse what is no number of pixels."""
        object.__setattr__(self, "eps", count(self.eps, "the side of a patch in pixels", LARGEST))

    def at(self, x: Batch, domain: Domain = Domain()) -> PatchSet:  # noqa: B008 - frozen
        """The set around images (B, C, H, W)."""
        return PatchSet(image_batch(x, domain, str(self)), self.eps, domain)

    def __str__(self) -> str:
        return f"patch:{plain(self.eps)}"


def _extent(changed: Tensor) -> Tensor:
    """From the first to the last True of each row, int64 (B,); 0 where there is none."""
    places = torch.arange(changed.shape[1], device=changed.device)
    last = torch.where(changed, places, -1).amax(1)
    first = torch.where(changed, places, changed.shape[1]).amin(1)
    return (last - first + 1).clamp_min(0)
