"""Arrays in files: .npz and .safetensors with x and y."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robustly.adapters.raw import Raw
from robustly.core.errors import UsageError

INPUTS, LABELS = ("x", "X", "images", "data"), ("y", "Y", "labels", "targets")
_HALF = (torch.bfloat16, torch.float16)  # numpy has no bfloat16
_BOMB = 1 << 30, 200  # bytes when unpacked, and how many times the packed size, from which a file is refused


def read_npz(path: Path) -> Raw:
    """The arrays of a .npz file; objects in it are never unpickled.

    Raises:
        UsageError: damaged, a zip bomb, holds objects, or has no x or no y; names what it has.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile:
        raise UsageError(f"{path} is damaged or no .npz file. Write it with numpy.savez(path, x=x, y=y).") from None
    if unpacked > _BOMB[0] and unpacked > _BOMB[1] * path.stat().st_size:
        raise UsageError(
            f"{path} would unpack to {unpacked >> 20} MiB, {unpacked // path.stat().st_size} times its size. Refused."
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            x, y = _pair(file, path)
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise UsageError(
                f"{path} holds Python objects, which would have to be unpickled and so could run code. "
                "Save plain arrays: numpy.savez(path, x=x, y=y), with strings as dtype str."
            ) from None
        raise UsageError(f"{path} is damaged: {error}.") from error
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is damaged: {error}.") from error
    return Raw(x, y, path.stem)


def read_safetensors(path: Path) -> Raw:
    """The tensors of a .safetensors file.

    Raises:
        UsageError: damaged, or has no x or no y; names what it has.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        x, y = _pair(load_file(path), path)
    except SafetensorError as error:
        raise UsageError(f"{path} is damaged or no safetensors file: {error}.") from error
    return Raw(
        x.float().numpy() if x.dtype in _HALF else x.numpy(), y, path.stem
    )  # an array: its axes may be in any order


def _pair(table: Mapping[str, Any], path: Path) -> tuple[Any, Any]:
    found = {what: next((key for key in known if key in table), None) for what, known in (("x", INPUTS), ("y", LABELS))}
    for what, known in (("x", INPUTS), ("y", LABELS)):
        if found[what] is None:
            raise UsageError(
                f'{path} has no "{what}" ({", ".join(known)}); it has {", ".join(table.keys()) or "nothing"}.'
            )
    return table[found["x"]], table[found["y"]]  # type: ignore[index]
