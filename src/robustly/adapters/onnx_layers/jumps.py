"""The sign, with a slope for a search to follow."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _Followed(torch.autograd.Function):
    """sign(x), whose derivative is said to be 1 / (1 + |x|)^2 instead of zero: a straight-through estimate (Bengio, Leonard,
    Courville 2013, arXiv:1308.3432), less the farther from the jump."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.sign(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradients[0] / (1 + x.abs()).square()


class Sign(nn.Module):
    """-1, 0 or 1."""

    def forward(self, x: Tensor) -> Tensor:
        """The sign of every number."""
        return _Followed.apply(x)  # type: ignore[return-value]
