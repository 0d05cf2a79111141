"""Upper bounds on how much a linear layer can lengthen its input, in l2."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ROUNDS = 300
"""Most rounds of power iteration; it ends before where its bounds from above and below have met."""
EXACT = 1024
"""Matrices with a side up to this are also measured by their singular values."""
ROUNDING = 1 + 1e-9


def gram(weight: Tensor) -> Tensor:
    """Sums of |W^T W| by input feature, float64 (I, I): of a matrix (O, I), or of a kernel (O, I, h, w) over all offsets.

    Its spectral radius is at most that much above the square of the layer's largest gain, whatever stride and zero padding:
    a convolution is a part of the one over the whole plane (Prach & Lampert 2022, arXiv:2208.03160, theorem 1).
    """
    w = weight.double()
    if w.dim() == 2:
        return (w.t() @ w).abs()
    turned = w.transpose(0, 1)
    return F.conv2d(turned, turned, padding=(w.shape[2] - 1, w.shape[3] - 1)).abs().sum((2, 3))


def largest_gain(weight: Tensor, groups: int = 1) -> float:
    """An upper bound on the largest singular value of a linear layer's (O, I) or convolution's (O, I / groups, h, w) weight.

    The square root of the spectral radius of `gram`, from above: max_i (M v)_i / v_i for any v > 0 (Collatz, Wielandt),
    where v is improved by power iteration; from the side of the inputs or of the outputs. For weights that `aol` has rescaled it
    comes down to 1.
    """
    with torch.no_grad():
        parts = weight.detach().chunk(groups) if groups > 1 else (weight.detach(),)
        return max(_gain(part) for part in parts) * ROUNDING


def _gain(weight: Tensor) -> float:
    """Of one group: the least of what its Gram matrices and, for small matrices, its singular values say."""
    if weight.dim() == 2 and min(weight.shape) <= EXACT:
        return float(torch.linalg.matrix_norm(weight.double(), 2)) if torch.isfinite(weight).all() else float("inf")
    return min(_radius(gram(weight)), _radius(gram(weight.transpose(0, 1)))) ** 0.5


def _radius(m: Tensor) -> float:
    """At least the spectral radius of a symmetric matrix of numbers >= 0."""
    v, best = torch.ones(len(m), dtype=torch.float64, device=m.device), float("inf")
    for _ in range(ROUNDS if torch.isfinite(m).all() else 0):
        image = m @ v
        ratio = image / v
        best = min(best, float(ratio.max()))
        if float(ratio.min()) > best * (1 - 1e-10):
            break
        v = (image / image.max().clamp_min(1e-300)).clamp_min(1e-12)
    return best
