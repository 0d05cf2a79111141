"""A fast copy of a network to search on; only what the judge confirms on the original counts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from robustly.adapters.folding import folded
from robustly.core.errors import UsageError, nearest
from robustly.oracle import Model

KINDS: dict[str, str] = {
    "folded": "the same network, its batch norms folded into convolutions or made plain multiplications",
    "channels-last": "the same, its memory laid out channels last",
    "bf16": "the same, computed in bfloat16",
}
EXACT = ("folded", "channels-last")
"""Kinds that compute in the original's precision: their answers differ in the last bits, as between batch sizes."""


def fast_twin(model: Model, kind: str) -> Model:
    """A twin of a network; its scores are close to the original's, not equal.

    Raises:
        UsageError: an unknown kind, or there is no network behind the model.
    """
    if kind not in KINDS:
        raise UsageError(f'unknown twin "{kind}".{nearest(kind, KINDS)}')
    if model.module is None:
        raise UsageError(f"no twin of {model.name}: there is no torch network behind it. Leave the twin out.")
    twin = folded(copy.deepcopy(model.module)).requires_grad_(False)
    layout = torch.contiguous_format if kind == "folded" else torch.channels_last
    twin = twin.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    dtype = torch.bfloat16 if kind == "bf16" else next((p.dtype for p in twin.parameters()), torch.float32)
    if kind == "bf16":
        twin = twin.to(torch.bfloat16)
    numbers = (
        4 * model.numbers if kind == "bf16" else model.numbers
    )  # its calls cost more to begin, its numbers less room
    call = _call(twin, dtype, layout)
    return replace(model, call=call, module=None, numbers=numbers, name=f"{model.name} ({kind} twin)")


def foldable(model: Model) -> bool:
    """Does the network have batch norms, so that the folded twin is another network than the original?"""
    return model.module is not None and any("BatchNorm" in type(part).__name__ for part in model.module.modules())


def _call(twin: nn.Module, dtype: torch.dtype, layout: torch.memory_format) -> Callable[[Tensor], Tensor]:
    def call(z: Tensor) -> Tensor:
        z = z.to(dtype)
        if z.dim() == 4:
            z = z.contiguous(memory_format=layout)
        out = twin(z)
        return getattr(out, "logits", out).float()

    return call
