"""A fast copy of a network to search on; only what the judge confirms on the original counts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from robustly.core.errors import UsageError, nearest
from robustly.oracle import Model

KINDS: dict[str, str] = {
    "channels-last": "the same network with its convolutions folded with batch norm and its memory laid out channels last",
    "bf16": "the same, computed in bfloat16",
}


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
    twin = twin.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    dtype = torch.bfloat16 if kind == "bf16" else next((p.dtype for p in twin.parameters()), torch.float32)
    if kind == "bf16":
        twin = twin.to(torch.bfloat16)
    numbers = (
        4 * model.numbers if kind == "bf16" else model.numbers
    )  # its calls cost more to begin, its numbers less room
    return replace(model, call=_call(twin, dtype), module=None, numbers=numbers, name=f"{model.name} ({kind} twin)")


def folded(module: nn.Module) -> nn.Module:
    """The module with each batch norm that directly follows a convolution in a Sequential folded into it."""
    for parent in module.modules():
        if not isinstance(parent, nn.Sequential):
            continue
        names = list(parent._modules)
        for first, second in pairwise(names):
            conv, norm = parent._modules[first], parent._modules[second]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats:
                parent._modules[first] = nn.utils.fuse_conv_bn_eval(conv, norm)
                parent._modules[second] = nn.Identity()
    return module


def _call(twin: nn.Module, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    def call(z: Tensor) -> Tensor:
        z = z.to(dtype)
        if z.dim() == 4:
            z = z.contiguous(memory_format=torch.channels_last)
        out = twin(z)
        return getattr(out, "logits", out).float()

    return call
