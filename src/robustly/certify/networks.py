"""The network that a certifier may bound."""

from __future__ import annotations

from torch import nn

from robustly.oracle.model import Model


class NoNetwork(Exception):  # noqa: N818 - becomes a sentence in the bound
    """Why there is no network to bound."""


def network(model: Model) -> nn.Module:
    """The network behind a model.

    Raises:
        NoNetwork: there is none, a part of it is in training mode, or its numbers are shorter than float32.
    """
    module = model.module
    if module is None:
        raise NoNetwork(f"no network to bound: {model.name} is not an nn.Module")
    part = next((path or "the network" for path, m in module.named_modules() if m.training), None)
    if part is not None:
        raise NoNetwork(f"{part} is in training mode; call .eval() first")
    tensors = [*module.named_parameters(), *module.named_buffers()]
    short = next(((n, t.dtype) for n, t in tensors if t.is_floating_point() and t.dtype.itemsize < 4), None)
    if short is not None:
        raise NoNetwork(f"{short[0]} is {short[1]}; bounds are for float32 networks, so call .float() first")
    return module
