"""Interval bounds through a network with their gradients: for training, without the rounding that a certificate needs."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustly.core.errors import UsageError

MONOTONE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
SAME = (nn.Flatten, nn.Identity, nn.Unflatten)


def boxed(layer: nn.Module, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds of a layer's, or a sequence of layers', output over boxes low <= z <= high (B, ...); differentiable.

    Raises:
        UsageError: a layer without a rule; names it.
    """
    if isinstance(layer, nn.Sequential):
        for part in layer:
            low, high = boxed(part, low, high)
        return low, high
    if isinstance(layer, nn.Linear):
        middle = F.linear((low + high) / 2, layer.weight, layer.bias)
        return _around(middle, F.linear((high - low) / 2, layer.weight.abs()))
    if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros":
        settings: Any = (layer.stride, layer.padding, layer.dilation, layer.groups)
        middle = F.conv2d((low + high) / 2, layer.weight, layer.bias, *settings)
        return _around(middle, F.conv2d((high - low) / 2, layer.weight.abs(), None, *settings))
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and not layer.training and layer.running_var is not None:
        ends = layer(low), layer(high)
        return torch.minimum(*ends), torch.maximum(*ends)
    if isinstance(layer, nn.Dropout | nn.Dropout2d) and (not layer.training or layer.p == 0):
        return low, high
    if isinstance(layer, (*MONOTONE, *SAME)):
        return layer(low), layer(high)
    raise UsageError(
        f"no interval bounds for {type(layer).__name__} in training: build the network as nn.Sequential of linear layers, "
        "convolutions, batch norms in eval mode, monotone activations, pooling and Flatten."
    )


def worst_scores(network: nn.Sequential, low: Tensor, high: Tensor, y: Tensor) -> Tensor:
    """Scores (B, K), 0 for y and for the others the most by which they can exceed y's over the boxes; differentiable.

    The last layer, where it is linear, is merged with the differences (Gowal et al. 2018, arXiv:1810.12715, section 3).
    """
    last = network[-1]
    if not isinstance(last, nn.Linear):
        low, high = boxed(network, low, high)
        worst = high - low.gather(1, y[:, None])
        return worst.scatter(1, y[:, None], 0.0)
    low, high = boxed(network[:-1], low, high)
    apart = last.weight[None] - last.weight[y][:, None]
    shift = 0 if last.bias is None else last.bias[None] - last.bias[y][:, None]
    middle, radius = (low + high) / 2, (high - low) / 2
    return (apart @ middle[:, :, None]).squeeze(2) + shift + (apart.abs() @ radius[:, :, None]).squeeze(2)


def _around(middle: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    return middle - radius, middle + radius
