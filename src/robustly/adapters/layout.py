"""Which axis of an image batch holds the channels."""

from __future__ import annotations

from torch import Tensor

from robustly.core.errors import UsageError

LAYOUTS = ("chw", "hwc")


def channels_first(
    x: Tensor, layout: str | None = None, torch_made: bool = False
) -> tuple[Tensor, bool, tuple[str, ...]]:
    """A batch (N, C, H, W) of a batch of four axes, whether it is one of images, and what was turned.

    Channels are an axis of 1 or 3, or failing that of 4. layout: "chw" or "hwc" where the user says so. torch_made: it
    was given as a tensor, which by torch's custom has its channels first; then only a clear case is turned.

    Raises:
        UsageError: both readings fit and nothing decides; or an unknown layout.
    """
    if layout is not None and layout not in LAYOUTS:
        raise UsageError(f'unknown layout "{layout}". Write "chw" (channels first) or "hwc" (channels last).')
    if x.dim() != 4:
        return x, False, ()
    first, last = _like_channels(x.shape[1]), _like_channels(x.shape[3])
    shape = tuple(x.shape)
    if layout == "chw" or (layout is None and first > last):
        return x, first > 0, ()
    if layout == "hwc" or last > first:
        return (
            x.permute(0, 3, 1, 2).contiguous(),
            True,
            (f"images of shape {shape} are read as (N, H, W, C) and turned",),
        )
    if first == 0:
        return x, False, ()
    if torch_made:
        return x, True, (f'a tensor of shape {shape} is read as (N, C, H, W); where it isn\'t, say layout="hwc"',)
    raise UsageError(
        f'images of shape {shape} may have their channels first or last. Say layout="chw" or layout="hwc" (--layout).'
    )


def _like_channels(size: int) -> int:
    return 2 if size in (1, 3) else 1 if size == 4 else 0
