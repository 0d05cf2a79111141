"""Inputs of any shape as images, and images of few large tiles: where an attack thinks of pixels, rows and neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from robustly.core.errors import UsageError


def image_shape(inner: Sequence[int]) -> tuple[int, int, int]:
    """(C, H, W) of an input of that shape; whatever isn't (C, H, W) itself is a line of numbers, (1, 1, n)."""
    channels, height, width = inner if len(inner) == 3 else (1, 1, math.prod(inner))
    return channels, height, width


def as_images(z: Tensor) -> Tensor:
    """The same numbers, (B, C, H, W)."""
    return z.reshape(len(z), *image_shape(z.shape[1:]))


def tile_shape(inner: Sequence[int], side: int) -> tuple[int, int, int]:
    """(C, h, w) of an image with `side` tiles along each side, of one pixel each where there are no more; 0 for pixels."""
    channels, height, width = image_shape(inner)
    return (channels, min(side, height), min(side, width)) if side else (channels, height, width)


def enlarged(tiles: Tensor, inner: Sequence[int]) -> Tensor:
    """Tiles (B, C, h, w) as inputs of shape `inner`: each pixel takes the value of the tile it lies in."""
    _, height, width = image_shape(inner)
    h, w = tiles.shape[2:]
    down, across = (torch.arange(many, device=tiles.device) * few // many for many, few in ((height, h), (width, w)))
    return tiles[:, :, down][:, :, :, across].reshape(len(tiles), *inner)


def checked_side(side: int) -> int:
    """The number of tiles along a side, if it is one.

    Raises:
        UsageError: it is negative.
    """
    if side < 0:
        raise UsageError(f"side must be at least 1, or 0 for tiles of one pixel, got {side}.")
    return side
