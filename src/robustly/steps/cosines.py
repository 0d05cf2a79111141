"""The cosines that an image is a sum of (the DCT-II)."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor


@cache
def cosines(size: int, count: int) -> Tensor:
    """The first `count` of the orthonormal cosines over `size` places, float64 (size, count).

    Column k is cos(pi k (i + 1/2) / size), brought to length 1.
    """
    place, wave = torch.arange(size).double()[:, None], torch.arange(count).double()
    waves = (math.pi * (place + 0.5) * wave / size).cos() * math.sqrt(2 / size)
    return torch.where(wave == 0, math.sqrt(1 / size), waves)
