"""Layers that never lengthen a difference, for networks whose certified radius can be read off their margin."""

from __future__ import annotations

from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from robustly.core.errors import UsageError
from robustly.steps.norms import gram

L = TypeVar("L", nn.Linear, nn.Conv2d)


class AlmostOrthogonal(nn.Module):
    """Weights (O, I, ...) divided, by input feature i, by sqrt(sum_j |W^T W|_ij): their largest gain is then at most 1."""

    def forward(self, weight: Tensor) -> Tensor:
        """The rescaled weight, of the same shape."""
        scale = gram(weight).sum(1).clamp_min(1e-12).rsqrt()
        return (weight.double() * scale.reshape(1, -1, *(1,) * (weight.dim() - 2))).to(weight.dtype)


def aol(layer: L) -> L:
    """The same layer with almost orthogonal weights, trained as ever (Prach & Lampert 2022, arXiv:2208.03160).

    layer: a linear one, or a convolution with zero padding and one group, of any stride. It is changed in place, as
    `torch.nn.utils.parametrize` does, and given back. In a network of such layers and of ReLUs, leaky ReLUs or pooling without
    overlap, an l2 ball of half the margin over sqrt(2) is certified; the certifier `lipschitz` computes that.

    Raises:
        UsageError: another layer, other padding, several groups.
    """
    plain = isinstance(layer, nn.Linear) or (
        isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros"
    )
    if not plain:
        raise UsageError(f"aol is for linear layers and convolutions with zero padding and one group, not for {layer}.")
    parametrize.register_parametrization(layer, "weight", AlmostOrthogonal())
    with torch.no_grad():
        assert torch.isfinite(cast(Tensor, layer.weight)).all()
    return layer
