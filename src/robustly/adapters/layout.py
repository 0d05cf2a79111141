"""Which axis of an image batch holds the channels: models, threats and records here have it first."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from robustly.core.errors import UsageError

LAYOUTS = ("chw", "hwc")
LAST = "where it wants its channels last, write takes_hwc(model)"
"""What is said of images that were turned without a word from the user."""


class Turned(NamedTuple):
    """x: (N, C, H, W), or as it was. images: is it a batch of images? turned: were its channels last? notes: what was
    done or assumed."""

    x: Tensor
    images: bool
    turned: bool = False
    notes: tuple[str, ...] = ()


def channels_first(x: Tensor, layout: str | None = None, torch_made: bool = False) -> Turned:
    """A batch (N, C, H, W) of a batch of four axes.

    Channels are an axis of 1 or 3, or failing that of 4. layout: "chw" or "hwc" where the user says so. torch_made: it
    was given as a tensor, which by torch's custom has its channels first; then only a clear case is turned.

    Raises:
        UsageError: both readings fit and nothing decides; or an unknown layout.
    """
    if layout is not None and layout not in LAYOUTS:
        raise UsageError(f'unknown layout "{layout}". Write "chw" (channels first) or "hwc" (channels last).')
    if x.dim() != 4:
        return Turned(x, False)
    first, last = _like_channels(x.shape[1]), _like_channels(x.shape[3])
    shape = tuple(x.shape)
    if layout == "chw" or (layout is None and first > last):
        return Turned(x, first > 0)
    if layout == "hwc" or last > first:
        told = f"images of shape {shape} are read as (N, H, W, C) and turned: the model is given (N, C, H, W)"
        more = f"; {LAST}" if layout is None else ""
        return Turned(x.permute(0, 3, 1, 2).contiguous(), True, True, (told + more,))
    if first == 0:
        return Turned(x, False)
    if torch_made:
        told = f'a tensor of shape {shape} is read as (N, C, H, W); where it isn\'t, say layout="hwc"'
        return Turned(x, True, notes=(told,))
    raise UsageError(
        f'images of shape {shape} may have their channels first or last. Say layout="chw" or layout="hwc" (--layout).'
    )


def as_given(x: Tensor, turned: bool) -> Tensor:
    """A batch (N, C, H, W) in the layout that its inputs were given in."""
    return x.permute(0, 2, 3, 1).contiguous() if turned else x


def _like_channels(size: int) -> int:
    return 2 if size in (1, 3) else 1 if size == 4 else 0
