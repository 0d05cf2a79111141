"""Hashes that say whether two audits were of the same model."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from typing import Any

from torch import Tensor, nn

from robustly.adapters.contents import content_digest, is_bound, of_library, tensor_parts


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
        if isinstance(value, Tensor):
            for part in tensor_parts(value):
                total.update(part)
        else:
            total.update(f"{type(value).__qualname__}\n".encode())
    return total.hexdigest()


def callable_digest(function: Callable[..., Any]) -> tuple[str, str]:
    """Sha256 (hex) of a callable, and a sentence that says what it covers.

    It is over the code (not the comments) and, as deep as they go, over defaults, arguments of partials, the object of
    a method, and whatever closure and globals hold: networks, tensors, arrays, plain values, functions, objects.
    """
    while isinstance(function, functools.partial) and not function.args and not function.keywords:
        function = function.func
    digest, missed = content_digest(function, module_digest)
    if isinstance(function, nn.Module):
        return digest, "the model's hash is of its layers and weights"
    if _only_named(function):
        return digest, "the model is a function of a library: its hash is of its name only"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    note = f"the model's hash is of its code (as compiled by Python {version}) and of what that refers to; "
    return digest, f"{note}libraries, and what it imports when called, count by name only{_left_out(missed)}"


def _left_out(missed: tuple[str, ...]) -> str:
    return f"; a change in {', '.join(missed)} would go unnoticed, as that can't be hashed" if missed else ""


def _only_named(function: Callable[..., Any]) -> bool:
    if isinstance(function, BuiltinFunctionType):
        return not is_bound(function)
    plain = isinstance(function, FunctionType) and not function.__closure__
    return plain and of_library(str(function.__globals__.get("__name__")))
