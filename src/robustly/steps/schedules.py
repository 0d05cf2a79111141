"""Numbers that fall as a search goes on."""

from __future__ import annotations

import math


def annealed(first: float, last: float, index: int, steps: int) -> float:
    """Half a cosine from `first`, at index 0, towards `last`, which it would reach at index `steps`."""
    return last + (first - last) * (1 + math.cos(math.pi * index / steps)) / 2
