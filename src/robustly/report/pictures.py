"""Inputs as PNG pictures: as they are, and the difference of two magnified around grey."""

from __future__ import annotations

import base64
import io
import math
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from PIL import Image

LONGEST = 160
"""Pixels of the longer side; larger pictures are shown smaller."""
TILES = 4
"""Most channels shown side by side where they are not colours."""
UP, DOWN, ZERO = np.array([235.0, 110.0, 20.0]), np.array([30.0, 105.0, 225.0]), 128.0
"""A single channel's perturbation: orange where it was raised, blue where lowered, grey where left alone."""


class Range(NamedTuple):
    """The values shown as black and as white."""

    low: float
    high: float


def range_of(domain: tuple[float | None, float | None], *arrays: np.ndarray) -> Range:
    """The input domain, or, where that is unbounded, the values that occur."""
    finite = [a[np.isfinite(a)] for a in arrays]
    values = np.concatenate([f.astype(np.float64).ravel() for f in finite] or [np.zeros(1)])
    values = values if len(values) else np.zeros(1)
    low = float(values.min()) if domain[0] is None else domain[0]
    high = float(values.max()) if domain[1] is None else domain[1]
    return Range(low, high if high > low else low + 1)


def magnification(delta: np.ndarray, span: Range) -> float:
    """The factor that spreads a perturbation over the whole scale around grey, rounded down to two significant digits.

    1 for no perturbation at all.
    """
    largest = float(np.abs(np.nan_to_num(delta, posinf=0, neginf=0)).max(initial=0.0))
    if largest == 0:
        return 1.0
    full = 0.5 * (span.high - span.low) / largest * (1 + 1e-5)  # 0.5 / float32(0.1) is a hair below 5
    unit = 10.0 ** (math.floor(math.log10(full)) - 1)
    return math.floor(full / unit) * unit


def is_picture(array: np.ndarray) -> bool:
    """Can it be shown as pixels: (H, W), or a few channels first or last."""
    return array.ndim in (2, 3) and array.size > 0


def tiles(array: np.ndarray, colour: bool) -> list[np.ndarray]:
    """The pictures (H, W, 1) or (H, W, 3) that one input is shown as, side by side.

    Two-dimensional: one. With colour: 1 or 3 channels one, 4 channels the colours and then the fourth alone. Else each
    of the first channels by itself, so that nothing is blended away.
    """
    if array.ndim == 2:
        return [array[:, :, None]]
    if colour and array.shape[0] not in (1, 3, 4) and array.shape[2] in (1, 3, 4):
        array = np.moveaxis(array, 2, 0)
    if colour and len(array) in (3, 4):
        return [np.moveaxis(array[:3], 0, 2), *(c[:, :, None] for c in array[3:])]
    return [channel[:, :, None] for channel in array[:TILES]]


def pixels(array: np.ndarray, span: Range, colour: bool) -> np.ndarray:
    """An input as bytes (H, W, 3): low is black, high is white; not finite counts as low."""
    finite = np.nan_to_num(array.astype(np.float64), nan=span.low, posinf=span.high, neginf=span.low)
    values = (finite - span.low) / (span.high - span.low)
    return _side_by_side([np.broadcast_to(_bytes(255 * t), (*t.shape[:2], 3)) for t in tiles(values, colour)])


def change_pixels(delta: np.ndarray, span: Range, factor: float, colour: bool) -> np.ndarray:
    """A signed perturbation as bytes (H, W, 3), grey where it is 0.

    Colours: 255 (1/2 + factor delta / (high - low)) in each channel. One channel: from grey towards orange (raised)
    or blue (lowered), full where a colour would be.
    """
    share = np.nan_to_num(delta.astype(np.float64), posinf=0, neginf=0) * factor / (span.high - span.low)
    shown = []
    for tile in tiles(share, colour):
        if tile.shape[2] == 3:
            shown.append(_bytes(255 * (0.5 + tile)))
        else:
            size = np.abs(tile * 2).clip(0, 1)
            shown.append(_bytes(ZERO + size * (np.where(tile > 0, UP, DOWN) - ZERO)))
    return _side_by_side(shown)


def shrunk(picture: np.ndarray, smooth: bool) -> np.ndarray:
    """At most LONGEST pixels a side: by averages if smooth, else by leaving pixels out (averages would hide noise)."""
    height, width = picture.shape[:2]
    share = LONGEST / max(height, width)
    if share >= 1:
        return picture
    tall, wide = max(1, round(height * share)), max(1, round(width * share))
    if smooth:
        return np.asarray(Image.fromarray(picture).resize((wide, tall), Image.Resampling.BOX))
    rows, columns = np.arange(tall) * height // tall, np.arange(wide) * width // wide
    return picture[rows][:, columns]


def png(picture: np.ndarray) -> bytes:
    """A picture (H, W, 3) as PNG bytes, grey ones with one channel."""
    grey = bool((picture == picture[:, :, :1]).all())
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture[:, :, 0] if grey else picture)).save(out, "PNG", optimize=True)
    return out.getvalue()


def image(picture: np.ndarray, alt: str, longest: int = LONGEST) -> Markup:
    """An <img> with the pixels inside; small pictures are enlarged by a whole factor, and stay crisp."""
    tall, wide = picture.shape[:2]
    times = max(1, longest // max(tall, wide, 1))
    return Markup('<img class="{}" src="data:image/png;base64,{}" width="{}" height="{}" alt="{}">').format(
        "crisp" if times > 1 else "smooth",
        base64.b64encode(png(picture)).decode(),
        wide * times,
        tall * times,
        alt,
    )


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _side_by_side(parts: list[np.ndarray]) -> np.ndarray:
    return np.ascontiguousarray(np.concatenate(parts, axis=1))
