"""Arrays in: float32 inputs, channels first, in a known range."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from robustly.adapters.layout import channels_first
from robustly.adapters.models import domain_of
from robustly.adapters.ranges import detect_range, refuse_outside
from robustly.core.errors import UsageError
from robustly.threats.base import Domain


class Inputs(NamedTuple):
    """x: float32 (N, ...). kind: "image" or "array". notes: what was detected, assumed or changed. turned: were the
    channels last?"""

    x: Tensor
    kind: Literal["image", "array"]
    domain: Domain
    notes: tuple[str, ...]
    turned: bool


def read_array(x: Any, range: tuple[float, float] | None = None, layout: str | None = None) -> Inputs:
    """Inputs of a tensor, a numpy array or nested lists, one row an example.

    uint8 becomes x / 255, unless range=(0, 255) is declared. Images of three axes in uint8 are grey.

    Raises:
        UsageError: empty, no row an example, an integer type other than uint8, NaN or infinity, or outside the range.
    """
    tensor = _tensor(x)
    _refuse_shape(tensor)
    domain = None if range is None else domain_of(range)
    whole = tensor.dtype is torch.uint8
    notes: list[str] = []
    if whole and tensor.dim() == 3:
        tensor = tensor[:, None]
        notes.append(
            f"whole numbers of shape {tuple(tensor[:, 0].shape)} are read as grey images {tuple(tensor.shape)}"
        )
    tensor, is_image, turned, told = channels_first(tensor, layout, torch_made=isinstance(x, Tensor))
    notes += told
    if whole and domain == Domain(0.0, 255.0):
        tensor = tensor.to(torch.float32)
    elif whole:
        tensor = tensor.to(torch.float32) / 255
        notes.append("8-bit values are divided by 255")
        domain = domain or Domain(0.0, 1.0)
    tensor = _float32(tensor, notes)
    _refuse_odd(tensor)
    if domain is None:
        domain, told_range = detect_range(tensor)
        notes.append(told_range)
    else:
        refuse_outside(tensor, domain)
        if domain.high >= 100 and tensor.numel() and tensor.max().item() <= 1:
            notes.append(
                f"the range {domain} is declared, but no value is above 1: were the data divided by 255 already?"
            )
    return Inputs(tensor, "image" if is_image else "array", domain, tuple(notes), turned)


def _tensor(x: Any) -> Tensor:
    if isinstance(x, Tensor):
        return x.detach().cpu()
    try:
        array = np.asarray(x)
    except ValueError:
        raise UsageError(
            "the inputs have different shapes, so they make no array. Bring them to one size first."
        ) from None
    if array.dtype.kind not in "fiub":
        raise UsageError(
            f"inputs of type {array.dtype} can't be read; give floating-point numbers, uint8 images or texts."
        )
    if array.dtype in (np.uint16, np.uint32, np.uint64) or array.dtype.byteorder == ">":
        array = array.astype(np.int64 if array.dtype.kind == "u" else array.dtype.newbyteorder("="))
    return torch.from_numpy(np.ascontiguousarray(array))


def _refuse_shape(x: Tensor) -> None:
    if x.dim() and len(x) == 0:
        raise UsageError("the data have 0 samples: there is nothing to audit. Check the path or the selection.")
    if x.dim() < 2:
        raise UsageError(
            f"inputs have the shape {tuple(x.shape)}; one row an example is wanted, (N, ...). Write x[None] for one."
        )
    if x.numel() == 0:
        raise UsageError(f"inputs have the shape {tuple(x.shape)}: each is empty. Check how they were made.")
    if x.is_complex():
        raise UsageError(f"inputs are {x.dtype}; give real numbers, say torch.view_as_real(x).")
    if not x.is_floating_point() and x.dtype is not torch.uint8:
        kind = str(x.dtype).removeprefix("torch.")
        raise UsageError(
            f"inputs are {kind}, from {x.min().item():g} to {x.max().item():g}. An attacker changes numbers by "
            "fractions: give floats (x.float() / 255 for images, with the range declared), or uint8 images."
        )


def _float32(x: Tensor, notes: list[str]) -> Tensor:
    if x.dtype is torch.float32:
        return x
    out = x.to(torch.float32)
    if x.dtype is torch.float64 and bool((out.double() != x).any()):
        notes.append("float64 inputs are rounded to float32")
    return out


def _refuse_odd(x: Tensor) -> None:
    odd = ~torch.isfinite(x)
    if odd.any():
        index = tuple(odd.nonzero()[0].tolist())
        rows = odd.flatten(1).any(1).sum().item()
        raise UsageError(
            f"input {index[0]} has {x[index].item():g} at {index[1:]}; {rows} of {len(x)} inputs have NaN or infinity. "
            "Remove or repair them before the audit."
        )
