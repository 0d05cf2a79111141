"""What sets of images ask of their inputs: the shape (B, C, H, W) and a bounded range, which becomes [0, 1]."""

from __future__ import annotations

import math

from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import Batch
from robustly.threats.base import Domain
from robustly.threats.coordinates import checked, number


def image_batch(x: Batch, domain: Domain, what: str) -> Tensor:
    """`x` as float32 images (B, C, H, W) inside a bounded domain.

    Raises:
        UsageError: texts, another shape, an unbounded domain, or anything `coordinates.checked` refuses.
    """
    x = checked(x, domain, what)
    if x.dim() != 4:
        raise UsageError(
            f"{what} is for images of shape (B, C, H, W), got {tuple(x.shape)}. For other inputs use a norm ball, "
            "say linf:8/255."
        )
    if not math.isfinite(domain.high - domain.low) or domain.high <= domain.low:
        raise UsageError(f"{what} needs a bounded range of inputs, got {domain}: declare it, say range=(0, 1).")
    return x


def to_unit(z: Tensor, domain: Domain) -> Tensor:
    """Float64, where the domain is [0, 1]."""
    return (z.double() - domain.low) / (domain.high - domain.low)


def from_unit(z: Tensor, domain: Domain) -> Tensor:
    """The float32 numbers of the domain for float64 ones of [0, 1]."""
    return (z * (domain.high - domain.low) + domain.low).float().clamp(domain.low, domain.high)


def size(value: float | str, what: str) -> float:
    """A finite size >= 0, also as text such as 8/255.

    Raises:
        UsageError: anything else.
    """
    if isinstance(value, str):
        return number(value, what)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise UsageError(f"{what} must be a finite number >= 0, got {value!r}.")
    return float(value)


def count(value: float | str, what: str, most: int) -> int:
    """A whole number from 0 to `most`.

    Raises:
        UsageError: anything else.
    """
    found = size(value, what)
    if found != int(found) or found > most:
        raise UsageError(f"{what} must be a whole number from 0 to {most}, got {value}.")
    return int(found)


def plain(value: float) -> str:
    """A size as people write it: 30, 0.1."""
    return repr(float(value)).removesuffix(".0")
