"""Noise of the sensor: Gaussian, shot (Poisson), impulse (salt and pepper).

The random numbers are the same for all images of a shape, since a member of a set must be known from the input alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.core import keys
from robustly.threats.corruptions.severity import strength


def gaussian_noise(x: Tensor, severity: int) -> Tensor:
    """Normal noise added to every number."""
    scale = strength(x, severity, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38))
    return (x + scale * keys.normal(_key("gaussian", x), x.shape[1:]).double()).clamp(0, 1)


def shot_noise(x: Tensor, severity: int) -> Tensor:
    """As if so many photons made a full pixel: Poisson(x c) / c, by inversion of its distribution function."""
    photons = strength(x, severity, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3))
    rate = x * photons
    chance = keys.uniform(_key("shot", x), x.shape[1:]).double() + 2.0**-25
    low, high = torch.full_like(rate, -1), torch.full_like(rate, 1023)  # the count is in (low, high]
    for _ in range(10):
        middle = ((low + high) / 2).floor()
        enough = torch.special.gammaincc(middle + 1, rate) >= chance
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return (torch.where(rate > 0, high, 0) / photons).clamp(0, 1)


def impulse_noise(x: Tensor, severity: int) -> Tensor:
    """A share of the numbers becomes 0 or 1, each with half the chance."""
    share = strength(x, severity, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27))
    chance = keys.uniform(_key("impulse", x), x.shape[1:]).double()
    return torch.where(chance < share / 2, 0.0, torch.where(chance < share, 1.0, x))


def _key(name: str, x: Tensor) -> Tensor:
    return keys.from_ids(0, [f"{name} noise"], x.device)
