"""Hashes that say whether two audits were of the same model."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def module_digest(module: nn.Module) -> str:
    """Sha256 (hex) over the layers (name, class and, for layers of torch, arguments) and all parameters and buffers."""
    total = hashlib.sha256()
    for name, layer in module.named_modules():
        arguments = layer.extra_repr() if type(layer).__module__.startswith("torch.") else ""
        total.update(f"{name}:{type(layer).__qualname__}({arguments})\n".encode())
    weights: dict[str, Any] = dict(module.state_dict(keep_vars=True))
    weights.update({name: value for name, value in module.named_buffers() if name not in weights})
    for name, value in weights.items():
        total.update(f"{name}:".encode())
        _add(total, value)
    return total.hexdigest()


def callable_digest(function: Callable[..., Any]) -> tuple[str, str]:
    """A hash of the source of a function, or of its class; and a sentence that says what the hash covers."""
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    for thing in (inner, type(inner)):
        try:
            source = inspect.getsource(thing)  # type: ignore[arg-type]
        except (OSError, TypeError):
            continue
        return hashlib.sha256(
            source.encode()
        ).hexdigest(), "the model's hash is of its source: what it refers to is not in it"
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    return hashlib.sha256(name.encode()).hexdigest(), "the model's source can't be read: its hash is of its name only"


def _add(total: Any, value: Any) -> None:
    if not isinstance(value, Tensor):
        total.update(f"{type(value).__qualname__}\n".encode())
        return
    value = value.detach()
    total.update(f"{value.dtype}{tuple(value.shape)}\n".encode())
    if value.is_quantized:
        total.update(f"{value.qscheme()}".encode())
        value = value.int_repr()
    value = value.to_dense() if value.layout is not torch.strided else value
    total.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
