"""Seen through rippled glass: pixels out of their places."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from robustly.core import keys
from robustly.threats.corruptions.blur import filtered
from robustly.threats.corruptions.severity import strength

TRUNCATE = 4.0
"""Gaussians end after so many standard deviations, as in scikit-image, which the authors use."""


def glass_blur(x: Tensor, severity: int) -> Tensor:
    """A little Gaussian blur, to 8 bits, pixels taken from random places near by, and blurred again.

    Which pixel goes where is the same for all images of a shape. The authors mean to swap two pixels, but assign numpy
    views of one another, by which one of the two is lost: what their data show, and what is done here.
    """
    small = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
    large = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
    sigma, reach, times = strength(x, severity, small, large)
    levels = (softened(x, sigma) * 255 + 2.0**-20).floor() / 255
    shuffled = levels.flatten(2)[:, :, places(x.shape[2], x.shape[3], reach, times).to(x.device)].view_as(x)
    return softened(shuffled, sigma)


def softened(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, down and across; the border's pixels go on beyond it."""
    far = int(TRUNCATE * sigma + 0.5)
    weights = [(k, math.exp(-(k**2) / (2 * sigma**2))) for k in range(-far, far + 1)]
    return filtered(filtered(x, [(k, 0, w) for k, w in weights]), [(0, k, w) for k, w in weights])


@functools.lru_cache(maxsize=32)
def places(height: int, width: int, reach: int, times: int) -> Tensor:
    """Where each pixel of a flat image comes from, int64 (height * width,): from up to `reach` pixels away, so many times.

    From the last row to the first, each pixel but those near the border takes what then stands at a random offset from
    -reach to reach - 1.
    """
    key = keys.from_ids(0, [f"glass blur {reach}"])
    offsets = (keys.integers(key, 2 * reach, (times, height, width, 2))[0] - reach).tolist()
    source = list(range(height * width))
    for one in offsets:
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                right, down = one[row][column]
                source[row * width + column] = source[(row + down) * width + column + right]
    return torch.tensor(source)
