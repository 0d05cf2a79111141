"""Images as sums of cosines (the DCT-II), and random directions that have low frequencies alone.

An input of shape (C, H, W) is an image; numbers of any other shape have no frequencies to speak of. The transforms are
sums over frequencies in a fixed order, not matrix products, so that an example has the same bits in any batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.keys import bits, fold, permutation
from robustly.steps.border_normal import Draw, bell
from robustly.steps.cosines import cosines

MOST = 4096  # coefficients up to which directions are made orthogonal: their table is the square of that


def frame(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape of one input as an image (C, H, W), which other inputs are of one line."""
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (1, 1, math.prod(shape))


def image_of(spectrum: Tensor, height: int, width: int) -> Tensor:
    """The images (..., height, width) with coefficients (..., h, w) of the lowest frequencies, and none of others."""
    down = cosines(height, spectrum.shape[-2]).to(spectrum)
    across = cosines(width, spectrum.shape[-1]).to(spectrum)
    rows = _summed([down[:, k, None] * spectrum[..., k, None, :] for k in range(down.shape[1])])
    return _summed([across[:, k] * rows[..., k, None] for k in range(across.shape[1])])


def spectrum_of(image: Tensor, h: int, w: int) -> Tensor:
    """The coefficients (..., h, w) of the lowest frequencies of images (..., height, width)."""
    down, across = cosines(image.shape[-2], h).to(image), cosines(image.shape[-1], w).to(image)
    rows = _summed([down[k, :, None] * image[..., k, None, :] for k in range(down.shape[0])])
    return _summed([across[k] * rows[..., k, None] for k in range(across.shape[0])])


def low(reduce: float, draw: Draw = bell) -> Draw:
    """Noise drawn for the lowest 1 / reduce of an image's frequencies, down and across; for every number where that is 1,
    and in inputs that are no images."""

    def drawn(key: Tensor, shape: tuple[int, ...]) -> Tensor:
        if reduce == 1 or len(shape) != 4:
            return draw(key, shape)
        channels, height, width = shape[1:]
        h, w = (math.ceil(side / reduce) for side in (height, width))
        return image_of(draw(key, (shape[0], channels, h, w)), height, width).reshape(len(key), *shape)

    return drawn


def coefficients(shape: tuple[int, ...], reduce: float) -> int:
    """How many numbers `low` draws for one direction in inputs of that shape."""
    if len(shape) != 3:
        return math.prod(shape)
    return shape[0] * math.ceil(shape[1] / reduce) * math.ceil(shape[2] / reduce)


def crossing(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Random directions (B, *shape), of which the shape[0] of a row are at right angles to each other, as far as they can.

    Cosines over all numbers, in a random order, each number's sign turned at random: every number is as large as in
    noise, but nothing is asked twice. Beyond `MOST` numbers, where random directions nearly are orthogonal, noise.
    """
    count, size = shape[0], math.prod(shape[1:])
    if size > MOST:
        return bell(key, shape)
    waves, out = cosines(size, size).T.float().to(key.device), []
    for first in range(0, count, size):
        sign = 2.0 * (bits(fold(key, first, 0), size) & 1) - 1
        order = permutation(fold(key, first, 1), size)[:, : count - first]
        out.append(waves[order] * sign[:, None])
    return torch.cat(out, 1).reshape(len(key), *shape)


def factor(reduce: float) -> float:
    """The factor by which the frequencies are fewer, down and across.

    Raises:
        UsageError: below 1, or not finite.
    """
    if not 1 <= reduce < float("inf"):
        raise UsageError(f"reduce is a factor, at least 1 (which leaves all frequencies); got {reduce:g}.")
    return reduce


def _summed(terms: list[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
