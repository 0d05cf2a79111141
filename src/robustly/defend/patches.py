"""Defences against patches: double masking for any model, and votes of bands of columns."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import Any

from torch import Tensor

from robustly.adapters.models import load_model
from robustly.core.errors import UsageError
from robustly.oracle.covers import Bands, Masking
from robustly.oracle.model import Access, Model


def cleansed(
    model: Any, patch: int, *, masks: int = 6, fill: float | None = None, range: tuple[float, float] | None = None
) -> Model:
    """PatchCleanser (Xiang et al. 2022, arXiv:2108.09135): a model that answers labels, by two rounds of masks over the image.

    model: anything `audit` takes that reads images (B, C, H, W); one that was trained with pixels covered keeps more of its
    accuracy. patch: the side in pixels of the patches to guard against, an upper bound. masks: along each axis; more cost more
    (masks^2 passes an answer and half of masks^4 a certificate) and cover less. fill: what covers pixels, in input units;
    the middle of the range by default.

    Verdicts are about the defended model. Its certifier is `double_masking`, for the threat patch:SIDE.

    Raises:
        UsageError: a patch or masks below 1.
    """
    base = load_model(model, range=range)
    if patch < 1 or masks < 2:
        raise UsageError(f"patch is a side of at least 1 pixel and masks at least 2; got {patch} and {masks}.")
    masking = Masking(base, patch, masks, _fill(base, fill))

    def call(z: Tensor) -> Tensor:
        _refuse_shape(z, masking.patch, masks)
        return masking.labels(z)

    name = f"{base.name} behind {masks} x {masks} masks for patches of {patch} pixels"
    out = replace(base, call=call, access=Access.LABELS, chunk=1, numbers=0, module=None, name=name, structure=masking)
    most = masks**2
    cost = (
        f"an answer takes up to {most} passes of {base.name}, {most + most**2} where masks disagree, and a certificate up to "
        f"{most * (most + 1) // 2}"
    )
    return replace(
        out, digest=_digest(base, repr((patch, masks, masking.fill))), notes=(_told(base), cost, *base.notes)
    )


def banded(model: Any, width: int, *, fill: float | None = None, range: tuple[float, float] | None = None) -> Model:
    """De-randomised smoothing by columns (Levine & Feizi 2020, arXiv:2002.10733): the scores are votes, one for each band.

    model: gives scores for images of which all but `width` neighbouring columns are covered by `fill`, and should have been
    trained so. fill: in input units; the middle of the range by default.

    Verdicts are about the defended model. Its certifier is `column_votes`, for the threat patch:SIDE.

    Raises:
        UsageError: a width below 1, or a model of labels alone.
    """
    base = load_model(model, range=range)
    if width < 1:
        raise UsageError(f"width is a number of columns, at least 1; got {width}.")
    if base.access is Access.LABELS:
        raise UsageError("votes of bands need a model that gives scores.")
    bands = Bands(base, width, _fill(base, fill))
    name = f"{base.name} by votes of bands of {width} columns"
    out = replace(base, call=bands.votes, chunk=1, numbers=0, module=None, name=name, structure=bands)
    cost = f"an answer and a certificate take as many passes of {base.name} as an image has columns"
    return replace(out, digest=_digest(base, repr((width, bands.fill))), notes=(_told(base), cost, *base.notes))


def _fill(base: Model, fill: float | None) -> float:
    if fill is not None:
        return float(fill)
    middle = (base.domain.low + base.domain.high) / 2
    return middle if math.isfinite(middle) else 0.0


def _refuse_shape(z: Tensor, patch: int, masks: int) -> None:
    least = min(z.shape[2:]) if z.dim() == 4 else 0
    if least <= patch + -(-(least - patch + 1) // masks) - 1:
        raise UsageError(
            f"masks for patches of {patch} pixels would cover inputs of shape {tuple(z.shape[1:])} whole: images (C, H, W) that are "
            "larger, a smaller patch, or more masks."
        )


def _digest(base: Model, settings: str) -> str:
    return hashlib.sha256(f"{base.digest} {settings}".encode()).hexdigest()


def _told(base: Model) -> str:
    return f"verdicts are about the defended model; {base.name} itself has no certificate against patches"
