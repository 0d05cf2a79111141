"""Which of torch's file kinds a file is, by its content: a `.pt` may be any of them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from robustly.adapters.exported import from_exported
from robustly.adapters.modules import from_module
from robustly.adapters.torchscript import from_torchscript
from robustly.adapters.weights import unpickled
from robustly.core.errors import UsageError
from robustly.oracle.model import Model

Kind = Literal["torchscript", "export", "pickle"]
SUFFIXES = (".pt", ".pth", ".ts", ".pt2", ".jit", ".ckpt", ".bin")


def kind_of(path: Path) -> Kind:
    """TorchScript (code/ and constants.pkl), torch.export (a program in JSON), or else a pickle.

    Raises:
        UsageError: no such file, or it is empty.
    """
    if not path.is_file():
        raise UsageError(f"no model file {path}.")
    if path.stat().st_size == 0:
        raise UsageError(f"{path} is empty (0 bytes). Save the model again.")
    if not zipfile.is_zipfile(path):
        return "pickle"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return "torchscript"
    if "archive_format" in inner or "serialized_exported_program.json" in {*names, *inner}:
        return "export"
    return "pickle"


def from_archive(path: Path, trust_pickle: bool, device: str | None) -> Model:
    """The model in a torch file.

    Raises:
        UsageError: it is damaged, holds weights only, or needs code to load.
    """
    readers: dict[Kind, Callable[[Path, bool, str | None], Model]] = {
        "torchscript": from_torchscript,
        "export": from_exported,
        "pickle": _from_pickle,
    }
    return readers[kind_of(path)](path, trust_pickle, device)


def _from_pickle(path: Path, trust_pickle: bool, device: str | None) -> Model:
    import torch

    found = unpickled(path, trust_pickle)
    if isinstance(found, torch.nn.Module):
        return from_module(found.to(device) if device else found, name=path.stem)
    raise UsageError(
        f"{path} holds weights only (a {type(found).__name__}), not what computes with them. "
        f"Write a function that builds the network: model.py:make --weights {path}."
    )
