"""Layers that never lengthen a difference, for networks whose certified radius can be read off their margin."""

from __future__ import annotations

from typing import TypeVar, cast

import torch
import torch.nn.functional as F
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
    if not _plain(layer):
        raise UsageError(f"aol is for linear layers and convolutions with zero padding and one group, not for {layer}.")
    parametrize.register_parametrization(layer, "weight", AlmostOrthogonal())
    with torch.no_grad():
        assert torch.isfinite(cast(Tensor, layer.weight)).all()
    return layer


class Returning(nn.Module):
    """x - 2 W^T T^-1 relu(W x + b), where T is diagonal with T_ii = sum_j |W W^T|_ij q_j / q_i; made by `sll`."""

    def __init__(self, inner: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.inner = inner
        self.log_q = nn.Parameter(torch.zeros(len(inner.weight)))

    def back(self) -> Tensor:
        """2 T^-1 W, of the shape of W. Read past the tracers of certifiers, for which it is a constant."""
        weight, log_q = cast(Tensor, self.inner._parameters["weight"]), cast(Tensor, self._parameters["log_q"])
        q = log_q.double().exp()
        t = gram(weight.transpose(0, 1)) @ q / q
        return (2 * weight.double() / t.clamp_min(1e-12).reshape(-1, *(1,) * (weight.dim() - 1))).to(weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n) to (B, n), or (B, C, H, W) to the same."""
        hidden, back = F.relu(self.inner(x)), self.back()
        if isinstance(self.inner, nn.Conv2d):
            padding = cast(tuple[int, int], self.inner.padding)
            return x - F.conv_transpose2d(hidden, back, None, 1, padding)
        return x - F.linear(hidden, back.t())


def sll(inner: nn.Linear | nn.Conv2d) -> Returning:
    """A residual layer that never lengthens a difference (Araujo et al. 2023, arXiv:2303.03169, theorem 3).

    inner: W and b of x - 2 W^T T^-1 relu(W x + b), from n numbers or channels to as many as wanted; the layer itself gives as
    many as it takes. A convolution has stride 1, no dilation, zero padding and one group. Unlike those of `aol`, many such
    layers in a row keep their gradients, so deep networks can be made of them; the certifier `lipschitz` knows them.

    Raises:
        UsageError: another layer; padding that changes the size of an image.
    """
    if not _plain(inner):
        raise UsageError(f"sll is for linear layers and convolutions with zero padding and one group, not for {inner}.")
    if isinstance(inner, nn.Conv2d):
        keeps = all(
            k == 2 * p + 1 for k, p in zip(inner.kernel_size, inner.padding, strict=False) if isinstance(p, int)
        )
        if inner.stride != (1, 1) or inner.dilation != (1, 1) or isinstance(inner.padding, str) or not keeps:
            raise UsageError(
                f"sll keeps the size of images: an odd kernel, stride 1 and padding of half of it; got {inner}."
            )
    return Returning(inner)


def _plain(layer: nn.Module) -> bool:
    kinds = isinstance(layer, nn.Linear | nn.Conv2d) and not parametrize.is_parametrized(layer)
    return kinds and (isinstance(layer, nn.Linear) or (layer.groups == 1 and layer.padding_mode == "zeros"))  # type: ignore[union-attr]
