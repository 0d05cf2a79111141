"""Four views from the literature: diversity (DI), scale copies (SI), mixed-in images (Admix), spectrum simulation (SSA)."""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.specs import spec
from robustly.steps.cosines import cosines
from robustly.steps.counts import at_least_one
from robustly.steps.pool import Pool
from robustly.steps.types import Case
from robustly.steps.views import View, black, pictures, share_of, width


@spec("view", paper="Xie et al. 2019, arXiv:1803.06978")
def di(rate: float = 0.9, chance: float = 0.5) -> View:
    """Shrunk to a random size, bilinearly, at a random place of an otherwise black picture; with some chance only.

    Each example draws for itself. (The authors enlarge from 299 to as much as 330 pixels; here the size of the input stays,
    as in later work.) Inputs that are no images (C, H, W) are shrunk as a line of numbers.

    Args:
        rate: the smallest size, as a share of the side.
        chance: probability that a copy is changed at all.

    Raises:
        UsageError: rate not in (0, 1], chance not in [0, 1].
    """
    if not 0 < rate <= 1:
        raise UsageError(f"rate is a share of the side, above 0 and at most 1, got {rate:g}.")
    if not 0 <= chance <= 1:
        raise UsageError(f"chance is a probability between 0 and 1, got {chance:g}.")

    def see(case: Case, z: Tensor, key: Tensor, turn: int) -> Tensor:
        draw = keys.uniform(key, (4,))
        image, empty = pictures(z), black(case)
        out = image - empty
        for axis in (2, 3):
            side = image.shape[axis]
            least = max(int(rate * side), 1)
            size = least + (draw[:, 0] * (side - least)).floor()
            begin = (draw[:, axis - 1] * (side - size + 1)).floor()
            out = _shrunk(out, size, begin, axis)
        return share_of((out + empty).view_as(z), z, draw[:, 3] < chance)

    return View(1, see)


@spec("view", paper="Lin et al. 2020, arXiv:1908.06281")
def si(times: int = 5) -> View:
    """Scale copies: the input, and at half, a quarter, ... of its brightness.

    Raises:
        UsageError: times < 1.
    """
    at_least_one((times, "times"))

    def see(case: Case, z: Tensor, key: Tensor, turn: int) -> Tensor:
        return z if turn == 0 else black(case) + (z - black(case)) / 2**turn

    return View(times, see)


@spec("view", paper="Wang et al. 2021, arXiv:2102.00436")
def admix(pool: Pool, times: int = 3, share: float = 0.2) -> View:
    """A little of a random image of another class mixed in: x + share * other.

    The others come from a pool of their own, never from the rest of the batch, so that an example meets the same ones in
    any company. The paper follows it with five scale copies: views=[admix(pool), si()].

    Raises:
        UsageError: times < 1, a share that is negative or not finite; when it runs, a pool of other shapes, or without
            another class.
    """
    at_least_one((times, "times"))
    if not 0 <= share < float("inf"):
        raise UsageError(f"share is how much of the other image is mixed in, at least 0, got {share:g}.")

    def see(case: Case, z: Tensor, key: Tensor, turn: int) -> Tensor:
        other = pool.to(z).drawn(case.goal.y, key)
        return z + share * (other - black(case))

    return View(times, see)


@spec("view", paper="Long et al. 2022, arXiv:2207.05382, eq. 7 and 8")
def ssa(times: int = 20, spread: float = 0.5, sigma: float = 16 / 255) -> View:
    """Spectrum simulation: Gaussian noise, then every coefficient of the cosine transform times a random factor.

    The gradient is that at the input, by the chain rule, as the paper has it; the authors' code takes that at the copy.

    Args:
        times: copies.
        spread: the factors are uniform in 1 - spread to 1 + spread (rho).
        sigma: deviation of the noise, as a share of the width of the range.

    Raises:
        UsageError: times < 1, spread or sigma negative or not finite.
    """
    at_least_one((times, "times"))
    for value, what in ((spread, "spread"), (sigma, "sigma")):
        if not 0 <= value < float("inf"):
            raise UsageError(f"{what} is at least 0, got {value:g}.")

    def see(case: Case, z: Tensor, key: Tensor, turn: int) -> Tensor:
        shape = z.shape[1:]
        noise = sigma * width(case) * keys.normal(keys.fold(key, 0), shape).to(z)
        factor = (1 + spread * (2 * keys.uniform(keys.fold(key, 1), shape) - 1)).to(z)
        spectrum = cosine(pictures(z - black(case) + noise)) * pictures(factor)
        return cosine(spectrum, back=True).view_as(z) + black(case)

    return View(times, see)


def cosine(image: Tensor, back: bool = False) -> Tensor:
    """The orthonormal cosine transform (type II) of each channel of images (B, C, H, W), or the way back.

    In float64, so that the size of the batch, which changes the order of a product's sums, leaves float32 as it is.
    """
    down, across = (cosines(side, side).T.to(image.device) for side in image.shape[2:])
    if back:
        down, across = down.T, across.T
    return (down @ image.double() @ across.T).to(image.dtype)


def _shrunk(image: Tensor, size: Tensor, begin: Tensor, axis: int) -> Tensor:
    """One axis of images (B, C, H, W) squeezed to `size` (B,) numbers from `begin` (B,) on, bilinearly; 0 elsewhere."""
    side = image.shape[axis]
    place = torch.arange(side, device=image.device) - begin[:, None]
    inside = (place >= 0) & (place < size[:, None])
    source = ((place + 0.5) * (side / size[:, None]) - 0.5).clamp(0, side - 1)
    low = source.floor()
    part = ((source - low) * inside).to(image)
    left, right = low.long(), (low.long() + 1).clamp_max(side - 1)
    shape = (-1, 1, side, 1) if axis == 2 else (-1, 1, 1, side)
    taken = [image.gather(axis, index.reshape(shape).expand_as(image)) for index in (left, right)]
    weights = [(weight * inside).to(image).reshape(shape) for weight in (1 - part, part)]
    return taken[0] * weights[0] + taken[1] * weights[1]
