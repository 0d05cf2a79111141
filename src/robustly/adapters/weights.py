"""Weights from a file into a module, strictly, without running code from the file."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustly.core.errors import UsageError

_NESTS = ("state_dict", "model_state_dict", "model")


def load_weights(module: nn.Module, path: Path, trust_pickle: bool = False) -> tuple[str, ...]:
    """Load a state dict into the module and return sentences on what was assumed.

    Raises:
        UsageError: unreadable, needs code to unpickle, or names and shapes don't all fit; the message names them.
    """
    path = Path(path)
    notes = []
    state = _read(path, trust_pickle)
    nest = next((key for key in _NESTS if isinstance(state, Mapping) and isinstance(state.get(key), Mapping)), None)
    if nest is not None:
        state = state[nest]
        notes.append(f'weights are those under "{nest}" in {path.name}')
    if isinstance(state, nn.Module):
        state = state.state_dict()
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UsageError(
            f"{path} holds no table of tensors. Save it with safetensors.torch.save_file(model.state_dict(), path)."
        )
    state = dict(state)
    if state and all(str(key).startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
        notes.append('the prefix "module." (of DataParallel) was dropped from the names of the weights')
    _refuse_misfit(module.state_dict(), state, path)
    module.load_state_dict(state, strict=True)
    return tuple(notes)


def unpickled(path: Path, trust_pickle: bool) -> Any:
    """What a `.pt` file holds, read without running code from it; with `trust_pickle` it may run any.

    Raises:
        UsageError: it needs code and is not trusted, or is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickle protocols; what matters is refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not trust_pickle:
            raise UsageError(refusal(path)) from error
    except Exception as error:
        if not trust_pickle:
            raise UsageError(f"{path} cannot be read as a torch file: {_first_line(error)}") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise UsageError(
            f"{path} cannot be read as a torch file: {type(error).__name__}: {_first_line(error)}"
        ) from error


def refusal(path: Path, what: str = "a pickle that needs code to load") -> str:
    """Why a file was not loaded, and what to do."""
    return (
        f"{path} holds {what}, and loading it would run whatever its author put there. "
        "Save the weights with safetensors.torch.save_file(model.state_dict(), path) and give --weights; "
        "or, if you trust the author, say --trust-pickle (trust_pickle=True)."
    )


def _read(path: Path, trust_pickle: bool) -> Any:
    if not path.is_file():
        raise UsageError(f"no weights file {path}.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise UsageError(f"{path} is not a whole safetensors file: {_first_line(error)}") from error
    if path.suffix not in (".pt", ".pth", ".bin", ".ckpt"):
        raise UsageError(f'cannot read weights from "{path.name}". Give a .safetensors, .pt or .pth file.')
    return unpickled(path, trust_pickle)


def _refuse_misfit(wanted: Mapping[str, Any], got: Mapping[str, Any], path: Path) -> None:
    missing = [name for name in wanted if name not in got]
    unexpected = [name for name in got if name not in wanted]
    shapes = [
        f"{name} is {tuple(got[name].shape)}, not {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in got and isinstance(value, Tensor) and value.shape != got[name].shape
    ]
    faults = [("missing", missing), ("unexpected", unexpected), ("wrong shape", shapes)]
    told = [
        f"{what}: {', '.join(names[:5])}{f' and {len(names) - 5} more' * (len(names) > 5)}"
        for what, names in faults
        if names
    ]
    if told:
        raise UsageError(f"the weights in {path.name} do not fit the model. {'; '.join(told)}.")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
