"""The noises of randomised smoothing: how each is drawn, and how far a probability under it can fall.

`sigma` is the standard deviation of a coordinate for each of them, in input units, so that they can be compared (as Yang
et al. 2020, arXiv:2002.08118, do). Draws are float64: their grain lies far below what smoothing rounds a noisy input to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.errors import UsageError, nearest


class Noise(Protocol):
    """Independent noise on every coordinate. norm: that in which it certifies."""

    name: ClassVar[str]
    norm: ClassVar[Literal["l1", "l2"]]

    @property
    def sigma(self) -> float:
        """Standard deviation of a coordinate, in input units."""
        ...

    def draw(self, key: Tensor, shape: Sequence[int]) -> Tensor:
        """Float64 (R, *shape) for keys (R, 2)."""
        ...

    def after(self, share: Tensor, distance: Tensor) -> Tensor:
        """The least probability, float64, of an event of probability `share`, once the input has moved by `distance`."""
        ...

    def radius(self, share: Tensor) -> Tensor:
        """The distance, float64, up to which an event of probability `share` stays above one half; 0 where it isn't."""
        ...

    def needed(self, distance: Tensor) -> Tensor:
        """The probability, float64, that an event must exceed to stay above one half up to `distance`."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """Normal noise, for l2: R = sigma * Phi^-1(p) (Cohen et al. 2019, arXiv:1902.02918, theorem 1)."""

    sigma: float
    name: ClassVar[str] = "gaussian"
    norm: ClassVar[Literal["l1", "l2"]] = "l2"

    def __post_init__(self) -> None:
        """Refuse a sigma that is none."""
        _check(self.sigma)

    def draw(self, key: Tensor, shape: Sequence[int]) -> Tensor:
        """Box and Muller, both of each pair used; tails reach 8.5 sigma."""
        count = math.prod(shape)
        half = -(-count // 2)
        u = _open_unit(key, 2 * half)
        size, angle = u[:, :half].log().mul_(-2).sqrt_(), u[:, half:] * (2 * math.pi)
        both = torch.cat((size * angle.cos(), size * angle.sin()), 1)
        return (self.sigma * both[:, :count]).reshape(len(key), *shape)

    def after(self, share: Tensor, distance: Tensor) -> Tensor:
        return torch.special.ndtr(torch.special.ndtri(share) - distance / self.sigma)

    def radius(self, share: Tensor) -> Tensor:
        return (self.sigma * torch.special.ndtri(share)).clamp_min(0)

    def needed(self, distance: Tensor) -> Tensor:
        return torch.special.ndtr(distance / self.sigma)

    def __str__(self) -> str:
        return f"gaussian:{self.sigma:g}"


@dataclass(frozen=True)
class Laplace:
    """Laplace noise of scale b = sigma / sqrt(2), for l1: R = -b log(2 (1 - p)).

    Lecuyer et al. 2019 (arXiv:1802.03471); the bound is that of Teng et al. 2020 and of Yang et al. 2020, table 1.
    """

    sigma: float
    name: ClassVar[str] = "laplace"
    norm: ClassVar[Literal["l1", "l2"]] = "l1"

    def __post_init__(self) -> None:
        """Refuse a sigma that is none."""
        _check(self.sigma)

    @property
    def scale(self) -> float:
        """The mean size of a coordinate."""
        return self.sigma / math.sqrt(2)

    def draw(self, key: Tensor, shape: Sequence[int]) -> Tensor:
        v = 2 * _open_unit(key, math.prod(shape)) - 1
        return (-self.scale * v.sign() * torch.log1p(-v.abs())).reshape(len(key), *shape)

    def after(self, share: Tensor, distance: Tensor) -> Tensor:
        """Likelihoods change by a factor of at most exp(distance / b), that of the event and that of its complement."""
        return torch.maximum(
            share * torch.exp(-distance / self.scale), 1 - (1 - share) * torch.exp(distance / self.scale)
        )

    def radius(self, share: Tensor) -> Tensor:
        return (-self.scale * torch.log(2 * (1 - share))).clamp_min(0)

    def needed(self, distance: Tensor) -> Tensor:
        return 1 - torch.exp(-distance / self.scale) / 2

    def __str__(self) -> str:
        return f"laplace:{self.sigma:g}"


@dataclass(frozen=True)
class Uniform:
    """Uniform noise on [-b, b], b = sqrt(3) sigma, for l1: R = 2 b (p - 1/2) (Yang et al. 2020, table 1)."""

    sigma: float
    name: ClassVar[str] = "uniform"
    norm: ClassVar[Literal["l1", "l2"]] = "l1"

    def __post_init__(self) -> None:
        """Refuse a sigma that is none."""
        _check(self.sigma)

    @property
    def half(self) -> float:
        """The largest size of a coordinate."""
        return math.sqrt(3) * self.sigma

    def draw(self, key: Tensor, shape: Sequence[int]) -> Tensor:
        return (self.half * (2 * _open_unit(key, math.prod(shape)) - 1)).reshape(len(key), *shape)

    def after(self, share: Tensor, distance: Tensor) -> Tensor:
        """Two cubes shifted by d share all but a part of at most |d|_1 / (2 b)."""
        return (share - distance / (2 * self.half)).clamp_min(0)

    def radius(self, share: Tensor) -> Tensor:
        return (2 * self.half * (share - 0.5)).clamp_min(0)

    def needed(self, distance: Tensor) -> Tensor:
        return 0.5 + distance / (2 * self.half)

    def __str__(self) -> str:
        return f"uniform:{self.sigma:g}"


NOISES: dict[str, Callable[[float], Noise]] = {"gaussian": Gaussian, "laplace": Laplace, "uniform": Uniform}


def parse_noise(text: str | float) -> Noise:
    """A noise of its text: "0.25" is Gaussian, "laplace:0.25" and "uniform:63.75" say which.

    Raises:
        UsageError: an unknown noise, or a sigma that is no number above 0.
    """
    name, _, size = str(text).rpartition(":")
    if name and name not in NOISES:
        raise UsageError(f'unknown noise "{name}".{nearest(name, NOISES)}')
    try:
        sigma = float(size)
    except ValueError:
        raise UsageError(f'noise is a sigma such as 0.25, or uniform:0.25, in input units; got "{text}".') from None
    return NOISES[name or "gaussian"](sigma)


def _check(sigma: float) -> None:
    if not (isinstance(sigma, (int, float)) and 0 < sigma < math.inf):
        raise UsageError(f"sigma is a number above 0 such as 0.25, in input units; got {sigma!r}.")


def _open_unit(key: Tensor, count: int) -> Tensor:
    """Uniform on (0, 1), float64 (R, count), in steps of 2^-52; never 0 or 1."""
    words = keys.bits(key, 2 * count)
    return ((words[:, :count] << 20) | (words[:, count:] >> 12)).double().add_(0.5).mul_(2.0**-52)
