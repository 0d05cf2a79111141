"""From bounds on differences of scores to what a certifier answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustly.certify.types import Bound
from robustly.goals import Goal


def collected(differences: Tensor, goal: Goal) -> Tensor:
    """The bound on the margin (B,) from those on its differences (B, K), NaN where unknown: the least, or for a target the
    largest; rounded down to float32.

    The model's own subtraction of two scores rounds once more, which can't change its sign. Rounding down takes away
    the last bits of float64, which depend on the batch size.
    """
    lower = differences.amin(1) if goal.target is None else differences.amax(1)
    lower = lower - 2.0**-22 * lower.abs()
    lower = torch.where(torch.isnan(lower), -torch.inf, lower)
    near = lower.float()
    return torch.where(near.double() > lower, torch.nextafter(near, torch.full_like(near, -torch.inf)), near).double()


def judged(name: str, lower: Tensor, clean: Tensor, notes: Sequence[str] = ()) -> Bound:
    """The bound held against the margins that the model answers at the clean inputs; notes: one a row, "" for none."""
    wrong = (lower > 0) & ~(clean >= lower)
    lower = torch.where(wrong, -torch.inf, lower)
    why: list[str | None] = []
    for row, (bound, off, margin) in enumerate(zip(lower.tolist(), wrong.tolist(), clean.tolist(), strict=True)):
        note = notes[row] if notes else ""
        if off:
            why.append(f"the network behind the model does not answer as the model does (clean margin {margin:.4g})")
        elif bound > 0:
            why.append(None)
        elif bound == -torch.inf:
            why.append(f"{name} bound is unknown: values are not finite or may overflow float32")
        else:
            why.append(f"{name} bound {bound:.4g} is not above 0" + (f" ({note})" if note else ""))
    return Bound(lower, tuple(why), 1)
