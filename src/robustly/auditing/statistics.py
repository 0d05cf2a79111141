"""Exact confidence intervals for fractions."""

from __future__ import annotations

from robustly.core.records import Interval


def clopper_pearson(hits: int, trials: int, level: float = 0.95) -> Interval:
    """The exact two-sided interval for a binomial fraction (Clopper & Pearson 1934).

    hits of trials; with no trials nothing is known: [0, 1].
    """
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(hits, trials - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1 - tail)) if hits < trials else 1.0
    return Interval(low=low, high=high, level=level)
