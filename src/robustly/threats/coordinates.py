"""Per-coordinate bounds: where each number of an input may lie, given the domain, a mask and (for linf) eps."""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import Batch, column
from robustly.threats.base import Domain, repeat

TOLERANCE = 2.0**-23
"""Slack of membership, relative to the larger of 1 and the numbers compared: one unit in the last place of float32, so
that an 8-bit image that differs by exactly 8 levels is a member of linf:8/255."""


def checked(x: Batch, domain: Domain, what: str) -> Tensor:
    """`x` as a float32 tensor inside the domain.

    Raises:
        UsageError: texts, integers, NaN or infinity, or a value outside the domain; names the first index and value.
    """
    if not isinstance(x, Tensor):
        raise UsageError(
            f"{what} needs numbers, but the inputs are texts. For texts use edits:K, say --threat edits:2."
        )
    if not x.is_floating_point():
        raise UsageError(f"{what} needs floating-point inputs, got {x.dtype}. Divide 8-bit images by 255 first.")
    x = x.detach().to(torch.float32)
    if not torch.isfinite(x).all():
        index = (~torch.isfinite(x)).flatten(1).any(1).nonzero()[0].item() if x.dim() > 1 else 0
        raise UsageError(f"input {index} has NaN or infinity. Remove or repair it before the audit.")
    outside = (x < domain.low) | (x > domain.high)
    if outside.any():
        index = tuple(outside.nonzero()[0].tolist())
        raise UsageError(
            f"input {index[0]} has the value {x[index].item():g} at {index[1:]}, outside the declared range {domain}. "
            f"Scale the data, or declare its range (range=({x.min().item():g}, {x.max().item():g}))."
        )
    return x


def bounds(x: Tensor, domain: Domain, mask: Tensor | None, eps: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Float32 (low, high), each (B, ...): the domain, x itself where the mask is False, and [x - eps, x + eps].

    Rounded inwards, so that a float32 point between them satisfies the constraints in exact arithmetic.
    """
    low, high = torch.full_like(x, domain.low), torch.full_like(x, domain.high)
    if eps is not None:
        wide, e = x.double(), column(eps, x)
        low, high = torch.maximum(low, _up(wide - e)), torch.minimum(high, _down(wide + e))
    if mask is not None:
        low, high = torch.where(mask, low, x), torch.where(mask, high, x)
    return torch.minimum(low, x), torch.maximum(high, x)


def within(z: Tensor, x: Tensor, domain: Domain, mask: Tensor | None) -> Tensor:
    """Bool (B,): z is finite, in the domain, and equal to x where the mask is False."""
    good = torch.isfinite(z) & (z >= domain.low) & (z <= domain.high)
    if mask is not None:
        good &= mask | (z == x)
    return good.flatten(1).all(1)


def row_mask(mask: Tensor | None, x: Tensor) -> Tensor | None:
    """The mask as bool (B, ...).

    Raises:
        UsageError: it isn't bool, doesn't broadcast to the inputs, or forbids everything.
    """
    if mask is None:
        return None
    mask = torch.as_tensor(mask, device=x.device)
    if mask.dtype is not torch.bool:
        raise UsageError(f"a mask is bool, True where the attacker may write; got {mask.dtype}. Write mask.bool().")
    try:
        mask = mask.expand(x.shape)
    except RuntimeError:
        raise UsageError(f"mask {tuple(mask.shape)} does not fit inputs {tuple(x.shape)}.") from None
    if not mask.any():
        raise UsageError("the mask is False everywhere: the attacker may change nothing.")
    return mask


def radius(eps: float | Tensor, x: Tensor) -> Tensor:
    """Eps as float64 (B,).

    Raises:
        UsageError: negative, NaN, or not one a row.
    """
    try:
        out = repeat(eps, x)
    except RuntimeError:
        raise UsageError(
            f"eps has {torch.as_tensor(eps).numel()} values for {len(x)} inputs: give one, or one a row."
        ) from None
    if not (out >= 0).all():
        raise UsageError(f"eps must be >= 0, got {out[~(out >= 0)][0].item():g}.")
    return out


def number(text: str, what: str = "eps") -> float:
    """A finite number >= 0, also written as a fraction such as 8/255.

    Raises:
        UsageError: anything else.
    """
    try:
        value = float(Fraction(text)) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f'{what} must be a number such as 0.1 or 8/255, got "{text}".') from None
    if not math.isfinite(value) or value < 0:
        raise UsageError(f"{what} must be finite and >= 0, got {text}.")
    return value


def _up(value: Tensor) -> Tensor:
    """The nearest float32 not below the float64 value."""
    near = value.to(torch.float32)
    return torch.where(near.double() < value, torch.nextafter(near, near.new_tensor(float("inf"))), near)


def _down(value: Tensor) -> Tensor:
    near = value.to(torch.float32)
    return torch.where(near.double() > value, torch.nextafter(near, near.new_tensor(float("-inf"))), near)
