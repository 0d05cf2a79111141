"""Any Python callable as a `Model`: inputs (B, ...) or a tuple of B texts, to scores (B, K)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robustly.adapters.digests import callable_digest
from robustly.adapters.modules import wanted_device
from robustly.adapters.outputs import Call, scores_of
from robustly.oracle.model import Model


def from_callable(function: Callable[..., Any], name: str = "", device: str | None = None) -> Model:
    """A model of a callable. It gives gradients if autograd can follow it; `check_pair` finds out."""
    digest, note = callable_digest(function)
    known = name or getattr(function, "__name__", type(function).__name__)
    where = wanted_device(device or "cpu")
    return Model(call=Call(function, scores_of), name=known, digest=digest, device=where, notes=(note,))
