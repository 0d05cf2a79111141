"""Linear maps with their transposes, in the dtype of what they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robustly.certify.linear.program import Map, Shape
from robustly.certify.linear.reading import Local

Turn = Callable[[Tensor], Tensor]


class Kept:
    """A constant in the dtypes that were asked for; float64 holds it exactly."""

    def __init__(self, value: Tensor) -> None:
        self.held = {torch.float64: value.detach().double()}

    def like(self, other: Tensor) -> Tensor:
        """In the dtype of `other`."""
        if other.dtype not in self.held:
            self.held[other.dtype] = self.held[torch.float64].to(other.dtype)
        return self.held[other.dtype]


def same() -> Map:
    """x."""
    return Map(_itself, _itself, _itself, moves=True, local=Local(_itself))


def negative() -> Map:
    """-x."""
    return Map(torch.neg, torch.neg, _itself, moves=True, local=Local(torch.neg))


def scaled(factor: Tensor) -> Map:
    """factor * x, for a factor that broadcasts to x without growing it."""
    kept, size = Kept(factor), Kept(factor.abs())

    def times(v: Tensor) -> Tensor:
        return v * kept.like(v)

    local = Local(times) if max(factor.shape[2:], default=1) == 1 else None  # the same all over a channel
    return Map(times, times, lambda v: v * size.like(v), moves=True, local=local)


def dense(weight: Tensor) -> Map:
    """x W^T over the last dimension, for W (out, in)."""
    kept, size = Kept(weight), Kept(weight.abs())
    return Map(
        lambda v: F.linear(v, kept.like(v)),
        lambda v: torch.matmul(v, kept.like(v)),
        lambda v: F.linear(v, size.like(v)),
        terms=weight.shape[1],
    )


def convolution(weight: Tensor, shape: Shape, settings: dict[str, Any]) -> Map:
    """A convolution over 1, 2 or 3 dimensions, zero-padded by numbers, of rows of `shape`; settings as tuples."""
    dims = weight.dim() - 2
    run = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[dims]
    back = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[dims]
    stride, padding, dilation, groups = (settings[k] for k in ("stride", "padding", "dilation", "groups"))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    sides = zip(shape[1:], padding, reach, stride, strict=True)
    left = tuple((n + 2 * p - r) % s for n, p, r, s in sides)
    kept, size = Kept(weight), Kept(weight.abs())

    def near(v: Tensor) -> Tensor:
        held = kept.like(v)
        if groups == 1 and set(dilation) == {1} and v[0, 0].numel() == 1:  # one product of matrices
            return (v.flatten(1) @ held.flatten(1)).unflatten(1, held.shape[1:])
        return back(v, held, None, stride, 0, 0, groups, dilation)

    return Map(
        lambda v: run(v, kept.like(v), None, stride, padding, dilation, groups),
        lambda v: back(v, kept.like(v), None, stride, padding, left, groups, dilation),
        lambda v: run(v, size.like(v), None, stride, padding, dilation, groups),
        terms=weight[0].numel(),
        local=Local(near, stride, padding, tuple(reach)),
    )


def transposed_convolution(weight: Tensor, settings: dict[str, Any]) -> Map:
    """The transpose of a convolution over 1, 2 or 3 dimensions."""
    dims = weight.dim() - 2
    run = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[dims]
    back = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[dims]
    stride, padding, dilation, groups = (settings[k] for k in ("stride", "padding", "dilation", "groups"))
    more = settings["output_padding"]
    kept, size = Kept(weight), Kept(weight.abs())
    return Map(
        lambda v: run(v, kept.like(v), None, stride, padding, more, groups, dilation),
        lambda v: back(v, kept.like(v), None, stride, padding, dilation, groups),
        lambda v: run(v, size.like(v), None, stride, padding, more, groups, dilation),
        terms=weight[:, 0].numel(),
    )


def turned(forward: Turn, backward: Turn) -> Map:
    """Numbers moved about, with the way back."""
    return Map(forward, backward, forward, moves=True)


def gathered(forward: Turn, shape: Shape, moves: bool = False) -> Map:
    """Any linear function of rows of `shape` with no negative weights; its transpose is found by differentiating it."""

    def backward(g: Tensor) -> Tensor:
        with torch.enable_grad():
            zero = g.new_zeros(len(g), *shape, requires_grad=True)
            (found,) = torch.autograd.grad(forward(zero), zero, g, create_graph=g.requires_grad)
        return found

    return Map(forward, backward, forward, moves)


def _itself(v: Tensor) -> Tensor:
    return v
