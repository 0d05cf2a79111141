"""What a network sees may change by at most eps: the distance of its features, in the manner of LPIPS.

Laidlaw, Singla & Feizi 2021, "Perceptual Adversarial Robustness", arXiv:2006.12655, section 3: at every place of a layer
the channels are scaled to length 1, each layer is divided by the root of its number of places, and the distance is the
Euclidean one of all layers together. With the audited network's own layers this is their self-bounded threat.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from robustly.core.errors import UsageError, nearest
from robustly.core.rows import Batch
from robustly.threats.base import Domain, repeat
from robustly.threats.images import image_batch, plain, size
from robustly.threats.measured import MeasuredSet


@dataclass(frozen=True)
class FeatureSet(MeasuredSet):
    """Images whose features are at most eps from those of x. own: the features of x, float64 (B, F)."""

    network: nn.Module
    layers: tuple[str, ...]
    own: Tensor

    def measure(self, z: Tensor) -> Tensor:
        """The Euclidean distance of the features, (B, 1, 1, 1); one forward pass through the first layers."""
        return (features(self.network, self.layers, z) - self.own).norm(dim=1)[:, None, None, None]


@dataclass(frozen=True)
class Features:
    """Images whose features in a network are at most `eps` apart: Features(0.5, network, ("1", "4")).

    network: in eval mode; takes the audited model's inputs as they are (normalisation inside). A copy in float64 is made,
    so that it is never changed. layers: names of `named_modules()`; by default every ReLU. Passes through it are the
    measure's and are not counted as the model's. There is no text form: a record names the layers and the weights' hash,
    and its counterexamples are judged again from Python.
    """

    eps: float
    network: nn.Module = field(repr=False)
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a network that is training, and layers that it hasn't."""
        object.__setattr__(self, "eps", size(self.eps, "eps of features"))
        if not isinstance(self.network, nn.Module):
            raise UsageError(f"features are those of an nn.Module, got {type(self.network).__name__}.")
        if any(m.training for m in self.network.modules()):
            raise UsageError("the network of features is in training mode; call .eval() first.")
        known = dict(self.network.named_modules())
        layers = (self.layers,) if isinstance(self.layers, str) else tuple(self.layers)
        layers = layers or tuple(name for name, m in known.items() if isinstance(m, nn.ReLU))
        for name in layers:
            if name not in known:
                raise UsageError(f'the network of features has no layer "{name}".{nearest(name, filter(None, known))}')
        if not layers:
            raise UsageError("the network has no ReLU layer: name its layers, say Features(0.5, network, ('conv1',)).")
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "network", copy.deepcopy(self.network).double().requires_grad_(False).eval())

    def at(self, x: Batch, domain: Domain = Domain()) -> FeatureSet:  # noqa: B008 - frozen
        x = image_batch(x, domain, str(self))
        network = self.network.to(x.device)
        own = features(network, self.layers, x)
        still = torch.zeros(len(x), device=x.device)
        return FeatureSet(x, repeat(self.eps, x), domain, still, network, self.layers, own).paced()

    def __str__(self) -> str:
        content = hashlib.sha256()
        for name, part in self.network.state_dict().items():
            content.update(name.encode() + part.cpu().numpy().tobytes())
        return f"features:{plain(self.eps)} of {content.hexdigest()[:8]} at {','.join(self.layers)}"


def features(network: nn.Module, layers: tuple[str, ...], z: Tensor) -> Tensor:
    """The scaled features of images (B, C, H, W) in those layers, float64 (B, F), without a graph.

    Raises:
        UsageError: as `traced_features`.
    """
    with torch.no_grad():
        return traced_features(network, layers, z.detach())


def traced_features(network: nn.Module, layers: tuple[str, ...], z: Tensor) -> Tensor:
    """The same with a graph, where gradients are on. The network is in float64.

    Raises:
        UsageError: a layer that answers with no tensor (B, ...), or isn't reached.
    """
    kept: dict[str, Tensor] = {}

    def keep(name: str, answer: object) -> None:
        if not isinstance(answer, Tensor) or answer.dim() < 2 or len(answer) != len(z):
            raise UsageError(f'layer "{name}" answers with no tensor (B, ...): choose another for features.')
        kept[name] = answer.clone()  # the next layer may write into it

    handles = [
        network.get_submodule(name).register_forward_hook(lambda _m, _i, answer, name=name: keep(name, answer))
        for name in layers
    ]
    try:
        network(z.double())
    finally:
        for handle in handles:
            handle.remove()
    missing = [name for name in layers if name not in kept]
    if missing:
        raise UsageError(f'layer "{missing[0]}" is not reached by the network: choose another for features.')
    scaled = []
    for name in layers:
        part = kept[name].flatten(2) if kept[name].dim() > 2 else kept[name][:, :, None]
        unit = part / part.norm(dim=1, keepdim=True).clamp_min(1e-10)
        scaled.append((unit / part.shape[2] ** 0.5).flatten(1))
    return torch.cat(scaled, 1)
