"""An image read at places between its pixels, as its pixels are moved by a flow."""

from __future__ import annotations

import torch
from torch import Tensor


def moved(x: Tensor, flow: Tensor) -> Tensor:
    """x (B, C, H, W) read so many pixels further down and right, flow (B, 2, H, W); beyond the border it goes on as there.

    Differentiable in the flow. Written with gathers, so that a row has the same bits in any batch.
    """
    height, width = x.shape[2:]
    rows = (torch.arange(height, device=x.device)[:, None] + flow[:, 0]).clamp(0, height - 1)
    columns = (torch.arange(width, device=x.device) + flow[:, 1]).clamp(0, width - 1)
    top, left = rows.detach().floor(), columns.detach().floor()
    down, right = (rows - top)[:, None], (columns - left)[:, None]
    out = torch.zeros_like(x)
    for i, share in ((0, 1 - down), (1, down)):
        for k, other in ((0, 1 - right), (1, right)):
            at = (top + i).clamp_max(height - 1) * width + (left + k).clamp_max(width - 1)
            out = out + share * other * _read(x, at.long())
    return out


def _read(x: Tensor, at: Tensor) -> Tensor:
    """The pixels at flat places (B, H, W)."""
    return x.flatten(2).gather(2, at.flatten(1)[:, None].expand(-1, x.shape[1], -1)).view_as(x)


def roughness(flow: Tensor) -> Tensor:
    """How much the flow differs between neighbours, (B,): the sum, over each pixel and each of its up to four neighbours, of
    the Euclidean difference of their flows (Xiao et al. 2018, arXiv:1801.02612, eq. 4)."""
    total = torch.zeros(len(flow), dtype=flow.dtype, device=flow.device)
    for axis in (2, 3):
        if flow.shape[axis] > 1:
            apart = flow.diff(dim=axis).square().sum(1)
            total = total + 2 * (apart + TINY).sqrt().sub(TINY**0.5).flatten(1).sum(
                1
            )  # each pair is seen from both sides
    return total


TINY = 1e-12
"""Added under the root, which has no slope at 0."""
