"""Linear bounds carried back through a network with their gradients: for training, without the rounding that a certificate needs."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustly.steps.boxes import SAME, boxed

AFFINE = (nn.Linear, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
KINKED = (nn.ReLU, nn.LeakyReLU)


def worst_by_lines(network: nn.Sequential, low: Tensor, high: Tensor, y: Tensor) -> Tensor:
    """Scores (B, K), 0 for y and for the others the most by which they can exceed y's over boxes; differentiable.

    Hidden ranges by interval arithmetic, the differences of scores by linear functions carried back to the input (Zhang et al.
    2020, arXiv:1906.06316, section 3.2): below a ReLU the line of slope 0 or 1 that leaves less area, above it the chord. Other
    monotone layers are enclosed by their ends.

    Raises:
        UsageError: a layer without a rule; names it.
    """
    layers = list(_flat(network))
    boxes = [(low, high)]
    for layer in layers:
        boxes.append(boxed(layer, *boxes[-1]))
    classes = boxes[-1][0].shape[1]
    eye = torch.eye(classes, dtype=low.dtype, device=low.device)
    slope = eye[None] - eye[y][:, None]  # (B, K, K): bounded from above
    offset = torch.zeros_like(slope[:, :, 0])
    for layer, (least, most) in zip(reversed(layers), reversed(boxes[:-1]), strict=True):
        slope, offset = _back(layer, slope, offset, least, most)
    middle, radius = ((high + low) / 2).flatten(1), ((high - low) / 2).flatten(1)
    flat = slope.flatten(2)
    return offset + (flat @ middle[:, :, None]).squeeze(2) + (flat.abs() @ radius[:, :, None]).squeeze(2)


def _flat(layer: nn.Module) -> Any:
    if isinstance(layer, nn.Sequential):
        for part in layer:
            yield from _flat(part)
    else:
        yield layer


def _back(layer: nn.Module, slope: Tensor, offset: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """A line over the layer's input (B, *shape) above one over its output; slope (B, K, *shape), offset (B, K)."""
    if isinstance(layer, (*AFFINE, *SAME, nn.Dropout, nn.Dropout2d)):
        return _through(layer, slope, offset, low)
    if isinstance(layer, KINKED):
        gentle = getattr(layer, "negative_slope", 0.0)
        if 0 <= gentle <= 1:
            return _over_kinks(gentle, slope, offset, low[:, None], high[:, None])
    ends = [layer(end) for end in (low, high)]  # every other layer that `boxed` knows is monotone
    rest = (slope * torch.where(slope > 0, ends[1][:, None], ends[0][:, None])).flatten(2).sum(2)
    return slope.new_zeros(*slope.shape[:2], *low.shape[1:]), offset + rest


def _through(layer: nn.Module, slope: Tensor, offset: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """An affine layer, by its own derivative and by what becomes of zeros."""
    count = slope.shape[:2]
    zeros = low.new_zeros(count[0] * count[1], *low.shape[1:])
    at_zero, pull = torch.func.vjp(layer, zeros)[:2]
    found = slope.reshape(at_zero.shape)
    return pull(found)[0].unflatten(0, count), offset + (found * at_zero).flatten(1).sum(1).reshape(count)


def _over_kinks(gentle: float, slope: Tensor, offset: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """max(x, gentle x): the chord above, one of its two lines below."""
    ends = F.leaky_relu(low, gentle), F.leaky_relu(high, gentle)
    open_ = (low < 0) & (high > 0)
    sure = torch.where(high <= 0, gentle, 1.0)
    chord = torch.where(open_, (ends[1] - ends[0]) / torch.where(open_, high - low, 1.0), sure)
    lift = torch.where(open_, ends[0] - chord * low, 0.0)
    below = torch.where(open_, torch.where(high > -low, 1.0, gentle), sure)
    rising = slope > 0
    return slope * torch.where(rising, chord, below), offset + (slope.clamp_min(0) * lift).flatten(2).sum(2)
