"""Does the target answer the same again: at once (is it random?) and later (has it changed?)."""

from __future__ import annotations

import torch
from torch import Tensor

SAME = 1e-3
"""Scores that differ by less than this share of the largest count as equal: sums in another order differ in last bits."""


def differs(one: Tensor, other: Tensor) -> bool:
    """Are two answers to the same inputs, scores (C, K) or labels (C,), more than rounding apart?"""
    if one.shape != other.shape:
        return True
    if one.dim() == 1:
        return not torch.equal(one, other)
    return bool((one - other).abs().max() > SAME * one.abs().max())


def has_changed(start: Tensor, now: Tensor) -> bool:
    """Is an answer `now`, (C, K) or (C,), unlike all of those at the start, (T, C, ...)?

    A target that is not random must answer the same. One that is may move, but not beyond three times the spread it had
    at the start; of labels, those that never moved must stay.
    """
    if start.shape[1:] != now.shape:
        return True
    if start.dim() == 2:
        steady = (start == start[0]).all(0)
        return bool((now != start[0])[steady].any())
    low, high = start.amin(0), start.amax(0)
    slack = 3 * (high - low).amax() + SAME * start.abs().max()
    return bool(((now < low - slack) | (now > high + slack)).any())
