"""A torch module as a `Model`: called as it is, never copied, never toggled.

Gradients are asked of the input only (`torch.autograd.grad(value, input)`), which prunes the gradients of the weights.
So a module whose parameters require gradients costs no more than a frozen view of it (6.0 against 6.4 ms for a small
convolutional network and 64 images), and nothing of it has to change.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from robustly.adapters.digests import module_digest
from robustly.adapters.outputs import Call, scores_of
from robustly.core.errors import UsageError
from robustly.core.rows import Batch
from robustly.oracle.model import Model

CPU_NUMBERS = 2**17  # input numbers a call on a CPU: the activations of small networks then stay in its caches
_HALF = (torch.float16, torch.bfloat16)


def from_module(module: nn.Module, name: str = "", digest: str = "", device: str | None = None) -> Model:
    """A model of a module in evaluation mode; nothing of the module changes, now or in any call.

    Inputs are cast to the dtype of its first floating parameter. `digest` stands for the weights where given.

    Raises:
        UsageError: a part of it is in training mode, or it lies on another device than `device`.
    """
    refuse_training(module)
    place, dtype = _place(module), _dtype(module)
    if device is not None and place is not None and not _same_place(place, wanted_device(device)):
        raise UsageError(
            f"the model lies on {place}, but the device asked for is {device}. "
            f'Write model.to("{device}") first, or ask for device="{place}".'
        )
    where = place or wanted_device(device or "cpu")
    notes = ()
    if dtype in _HALF:
        notes = (
            f"the model computes in {str(dtype).removeprefix('torch.')}: inputs are rounded to it inside the model",
        )
    return Model(
        call=Call(_caller(module, dtype), scores_of),
        numbers=CPU_NUMBERS if where.type == "cpu" else 0,
        name=name or type(module).__name__,
        digest=digest or module_digest(module),
        device=where,
        module=None if dtype in _HALF else module,
        notes=notes,
    )


def refuse_training(module: nn.Module) -> None:
    """Raise for a module of which any part is in training mode.

    Raises:
        UsageError: names the first parts and the line to write.
    """
    parts = [name or type(module).__name__ for name, part in module.named_modules() if getattr(part, "training", False)]
    if parts:
        shown = ", ".join(parts[:3]) + (f" and {len(parts) - 3} more" if len(parts) > 3 else "")
        raise UsageError(
            f"the model is in training mode ({shown}): dropout and batch statistics would change its answers. "
            "Write model.eval() first; the audit never switches modes itself."
        )


def wanted_device(device: str) -> torch.device:
    """The device of a word such as "cpu", "cuda" or "cuda:1".

    Raises:
        UsageError: no such device here.
    """
    try:
        found = torch.device(device)
    except RuntimeError:
        raise UsageError(f'unknown device "{device}". Write cpu, cuda, cuda:0 or mps.') from None
    if found.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (found.index or 0) >= count:
            raise UsageError(
                f'device "{device}" asked for, but this machine has {count} CUDA devices. Write device="cpu".'
            )
    if found.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError('device "mps" asked for, but this machine has none. Write device="cpu".')
    return found


def _caller(module: nn.Module, dtype: torch.dtype | None) -> Any:
    def raw(z: Batch) -> Any:
        return module(z.to(dtype) if dtype is not None and isinstance(z, torch.Tensor) else z)

    return raw


def _place(module: nn.Module) -> torch.device | None:
    weight = next(iter(module.parameters()), None)
    weight = next(iter(module.buffers()), None) if weight is None else weight
    return None if weight is None else weight.device


def _same_place(one: torch.device, other: torch.device) -> bool:
    return one.type == other.type and (one.index or 0) == (other.index or 0)


def _dtype(module: nn.Module) -> torch.dtype | None:
    return next((p.dtype for p in (*module.parameters(), *module.buffers()) if p.is_floating_point()), None)
