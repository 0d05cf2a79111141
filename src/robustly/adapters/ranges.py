"""The range that inputs live in: declared, or detected from the data and said so."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.oracle.model import Model
from robustly.threats.base import Domain

_START = "input range "


def detect_range(x: Tensor) -> tuple[Domain, str]:
    """The domain of floating inputs (N, ...) of which none is declared, and a sentence about their values.

    All in [0, 1]: that. Images beyond it: refused where all are positive, else unbounded.

    Raises:
        UsageError: the values look like 0..255, or images reach from 0 to beyond 1, where an eps meant for [0, 1] would be
            little or nothing.
    """
    low, high = x.min().item(), x.max().item()
    if low >= 0 and high <= 1:
        return Domain(0.0, 1.0), f"all values lie in [{low:g}, {high:g}]: [0, 1] where no range is declared"
    if _looks_like_bytes(x, low, high):
        raise UsageError(
            f"the data look like 0..255: they reach from {low:g} to {high:g}. Divide by 255, or declare range=(0, 255) "
            "(--range 0,255); eps is then in the same units."
        )
    if x.dim() >= 3 and low >= 0 and 1.5 < high <= 255:
        raise UsageError(
            f"the data reach from {low:g} to {high:g}, which is neither 0..1 nor 0..255. Declare the range that the model was "
            f"trained for, say range=(0, {high:g}) (--range 0,{high:g}), or range=(0, 255) for dark 8-bit images; eps is then "
            "in the same units."
        )
    note = f"values reach from {low:g} to {high:g}: where no range is declared, an attacker may leave that (see range=)"
    if x.dim() == 4 and low < 0:
        note += "; the images look normalised: eps is in these units unless the normalisation moves into the model"
    return Domain(), note


def refuse_outside(x: Tensor, domain: Domain) -> None:
    """Raise where a value lies outside the declared range.

    Raises:
        UsageError: names the first example, the place, the value and the remedy.
    """
    outside = (x < domain.low) | (x > domain.high)
    if not outside.any():
        return
    index = tuple(outside.nonzero()[0].tolist())
    low, high = x.min().item(), x.max().item()
    remedy = f"Declare the range the model was trained for, range=({low:g}, {high:g}), or scale the data."
    if domain == Domain(0.0, 1.0) and _looks_like_bytes(x, low, high):
        remedy = "These look like 0..255: divide by 255, or declare range=(0, 255) (--range 0,255)."
    raise UsageError(
        f"input {index[0]} has the value {x[index].item():g} at {index[1:]}, outside the declared range {domain}. "
        f"{remedy}"
    )


def with_range(model: Model, domain: Domain, how: str) -> Model:
    """The model with this range, and how it became known: "declared" or "detected". A later word replaces an earlier."""
    notes = [note for note in model.notes if not note.startswith(_START)]
    return replace(model, domain=domain, notes=(*notes, f"{_START}{domain}, {how}"))


def has_noted_range(model: Model) -> bool:
    """Do the notes say where the range is from?"""
    return any(note.startswith(_START) for note in model.notes)


def _looks_like_bytes(x: Tensor, low: float, high: float) -> bool:
    if low < 0 or not 1.5 < high <= 255:
        return False
    whole = bool((x == torch.round(x)).all())
    if x.dim() >= 3:
        return high >= 128 or (whole and high >= 16)
    return high >= 128 and whole  # flattened images; a table of small numbers is no image
