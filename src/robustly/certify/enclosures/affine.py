"""Linear and convolution layers, and the margins of a network whose last layer is linear."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robustly.certify.enclosures.value import LARGE, TINY, Image, Interval, between, gamma
from robustly.goals import Goal

WINOGRAD = 32.0
"""Extra rounding granted to convolutions that may run by Winograd or Fourier transforms, of the whole image."""


def linear(x: Interval, weight: Tensor, bias: Tensor | None = None) -> Interval:
    """x W^T + b over the last dimension."""
    w, b = weight.double(), _bias(weight, bias)
    error = gamma(w.shape[1] + 2) + product_error(w.device)
    centre, radius = x.halves()
    size = x.size
    rounding = F.linear(size, w.abs(), b.abs()) * error + w.shape[1] * TINY
    middle, reach = F.linear(centre, w, b), F.linear(radius, w.abs())
    lower, upper = middle - reach, middle + reach
    for image in x.images:
        if image.centre.dim() == 2:
            c, r = F.linear(image.centre, w, b), dual(w.abs() * image.scale, image) + F.linear(image.error, w.abs())
            lower, upper = torch.fmax(lower, c - r), torch.fmin(upper, c + r)
    return _bounded(lower, upper, rounding, error)


def conv2d(
    x: Interval,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | str | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Interval:
    """A two-dimensional convolution, padded with zeros."""
    w, b = weight.double(), _bias(weight, bias)
    taps = w[0].numel()
    error = gamma(taps + 2) + product_error(w.device, conv=True)
    centre, radius = x.halves()
    size = x.size
    if not direct(w.device):
        size, error = size.flatten(1).amax(1).reshape(-1, 1, 1, 1).expand_as(size), WINOGRAD * error

    def run(value: Tensor, kernel: Tensor, offset: Tensor | None = None) -> Tensor:
        return F.conv2d(value, kernel, offset, stride, padding, dilation, groups)

    rounding = run(size, w.abs(), b.abs()) * error + taps * TINY
    middle, reach = run(centre, w, b), run(radius, w.abs())
    lower, upper = middle - reach, middle + reach
    for image in x.images:
        rows = (w.abs() * _channel_scale(image, w, groups)).flatten(1)
        c, r = run(image.centre, w, b), dual(rows, image)[..., None, None] + run(image.error, w.abs())
        lower, upper = torch.fmax(lower, c - r), torch.fmin(upper, c + r)
    return _bounded(lower, upper, rounding, error)


def margins(x: Interval, weight: Tensor, bias: Tensor | None, goal: Goal) -> Tensor:
    """Lower bounds (B, K) on z_y - z_k, or on z_k - z_t for a target, for scores z = W x + b; NaN where unknown.

    The difference of two rows of W is one linear function, so what moves both scores alike is not lost. The rounding of
    both scores is subtracted. The label's own column is +inf, the target's own -inf.
    """
    w, b = weight.double(), _bias(weight, bias)
    error = gamma(w.shape[1] + 2) + product_error(w.device)
    anchor, sign = (goal.y, 1.0) if goal.target is None else (goal.target, -1.0)
    out = x.lower.new_full((len(x.lower), len(w)), torch.nan)
    for label in anchor.unique().tolist():
        rows = (anchor == label).nonzero().squeeze(1)
        some = x.take(rows)
        v, c = sign * (w[label] - w), sign * (b[label] - b)
        centre, radius = some.halves()
        scores = F.linear(some.size, w.abs(), b.abs())
        rounding = error * (scores + scores[:, label, None]) + 2 * w.shape[1] * TINY
        lower = F.linear(centre, v, c) - F.linear(radius, v.abs())
        for image in some.images:
            drop = dual(v.abs() * image.scale, image) + F.linear(image.error, v.abs())
            lower = torch.fmax(lower, F.linear(image.centre, v, c) - drop)
        known = (scores < LARGE).all(1, keepdim=True)
        lower = torch.where(known, lower - rounding, torch.nan)
        lower[:, label] = torch.where(known.squeeze(1), sign * torch.inf, torch.nan)
        out = out.index_copy(0, rows, lower)
    return out


def dual(rows: Tensor, image: Image) -> Tensor:
    """The most that sum_i rows_ji d_i can be over the ball of the image, (B, K), for non-negative rows (K, n)."""
    if image.norm == "l2":
        most = image.eps[:, None] * rows.norm(dim=1)
    elif image.norm == "l1":
        most = image.eps[:, None] * rows.amax(1)
    else:
        best = F.pad(rows.sort(1, descending=True).values.cumsum(1), (1, 0))
        most = image.room[:, None] * best[:, image.eps.floor().clamp(0, rows.shape[1]).long()].t()
    return most * (1 + 1e-12)


def product_error(device: torch.device, conv: bool = False) -> float:
    """Relative error of each product beyond float32's own, where the session lets torch round factors first.

    TF32 keeps 11 bits of a factor, bfloat16 keeps 8; both are counted as truncated, with a bit to spare.
    """
    b: Any = torch.backends
    if device.type == "cuda":
        own = b.cudnn.conv.fp32_precision if conv else b.cuda.matmul.fp32_precision
        legacy = b.cudnn.allow_tf32 if conv else b.cuda.matmul.allow_tf32
        settings = {own, "tf32" if legacy else "ieee"}
    else:
        own = b.mkldnn.conv.fp32_precision if conv else b.mkldnn.matmul.fp32_precision
        settings = {own, b.mkldnn.fp32_precision, b.fp32_precision}
    return 2.0**-5 if "bf16" in settings else 2.0**-8 if "tf32" in settings else 0.0


def direct(device: torch.device) -> bool:
    """Are convolutions plain sums of products here? oneDNN's are; cuDNN and NNPACK may transform."""
    return device.type == "cpu" and torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled  # type: ignore[attr-defined]


def _bounded(lower: Tensor, upper: Tensor, rounding: Tensor, error: float) -> Interval:
    """The interval with its rounding, unknown where a partial sum may overflow."""
    fine = rounding < error * LARGE
    return between(torch.where(fine, lower, torch.nan), upper, rounding)


def _bias(weight: Tensor, bias: Tensor | None) -> Tensor:
    return weight.new_zeros(len(weight), dtype=torch.float64) if bias is None else bias.double()


def _channel_scale(image: Image, weight: Tensor, groups: int) -> Tensor:
    """The largest scale in each channel, shaped to multiply a kernel (O, C / groups, h, w)."""
    scale = image.scale.amax((0, 2, 3))
    return scale.max() if groups > 1 else scale.reshape(1, -1, 1, 1)
