"""A model of images with their channels last, as one of images with their channels first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from robustly.adapters.models import load_model
from robustly.adapters.outputs import Call
from robustly.core.errors import UsageError
from robustly.oracle.model import Model


def takes_hwc(model: Any) -> nn.Module | Model:
    """The model, which takes images (B, H, W, C), as one of images (B, C, H, W): what everything here hands to a model.

        record = audit(takes_hwc(model), (x, y), Linf(8 / 255), layout="hwc")

    model: a module, a callable, a `Model`, or a source such as "net.onnx". A module stays one, of the same parameters.

    Raises:
        UsageError: a model behind an address, whose settings say what is sent; or anything `audit` would refuse.
    """
    if isinstance(model, nn.Module):
        return _TakesHwc(model)
    loaded = load_model(model)
    if loaded.remote is not None:
        raise UsageError("takes_hwc is for models that run here; what an endpoint is sent is told by its settings.")
    call = loaded.call
    turning = Call(_turning(call.raw), call.read) if isinstance(call, Call) else _turning(call)
    module = None if loaded.module is None else _TakesHwc(loaded.module)
    digest = hashlib.sha256(f"hwc {loaded.digest}".encode()).hexdigest()
    return replace(loaded, call=turning, module=module, digest=digest)


class _TakesHwc(nn.Module):
    """In the mode of its network from the start."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.training = network.training
        self.network = network

    def forward(self, z: Tensor) -> Any:
        return self.network(_last(z))


def _turning(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def turned(z: Any) -> Any:
        return call(_last(z))

    return turned


def _last(z: Tensor) -> Tensor:
    if not isinstance(z, Tensor) or z.dim() != 4:
        raise UsageError("takes_hwc is for models of images, four axes a batch: give this model without it.")
    return z.permute(0, 2, 3, 1).contiguous()
