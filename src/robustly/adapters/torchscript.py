"""A TorchScript file as a `Model`. Loading one runs no Python; calling it runs a program of tensor operations."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import torch

from robustly.adapters.modules import from_module, wanted_device
from robustly.core.errors import UsageError
from robustly.oracle.model import Model

# Operators of TorchScript that touch files: a network has no use for them.
_FILES = re.compile(rb"\b(?:torch|ops\.\w+)\.(from_file|save|load)\s*\(")


def from_torchscript(path: Path, trust_pickle: bool = False, device: str | None = None) -> Model:
    """A model of a scripted or traced module.

    Raises:
        UsageError: damaged, in training mode, or its code reads or writes files and it isn't trusted.
    """
    content = path.read_bytes()
    if not trust_pickle:
        _refuse_files(path, content)
    where = wanted_device(device or "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch prefers torch.export; old files remain
        try:
            module = torch.jit.load(io.BytesIO(content), map_location=where)
        except (RuntimeError, ValueError) as error:
            raise UsageError(
                f"{path} is damaged or not TorchScript: {str(error).strip().splitlines()[0][:300]}"
            ) from error
    model = from_module(module, path.stem, hashlib.sha256(content).hexdigest())
    note = "a TorchScript file: scores and gradients through it; no bounds, as its layers can't be read"
    return replace(model, module=None, device=where, notes=(*model.notes, note))


def _refuse_files(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            if name.endswith(".py") and (found := _FILES.search(archive.read(name))):
                raise UsageError(
                    f"{path} calls {found[1].decode()} in {name}: a network that reads or writes files is not loaded. "
                    "If you trust its author, say --trust-pickle (trust_pickle=True)."
                )
