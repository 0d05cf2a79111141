"""What counts of votes say of a probability: exact bounds for a fixed number of votes, and bounds that hold at all times."""

from __future__ import annotations

import math

from scipy.special import betaincc, betaincinv, betaln
from scipy.stats import binomtest

from robustly.core.errors import UsageError

ROUNDING = 1e-12
"""Taken off every bound, for the last bits of the incomplete beta function and its inverse."""


def lower_bound(hits: int, trials: int, alpha: float) -> float:
    """A lower bound on a probability, wrong with probability at most alpha (Clopper & Pearson 1934, one-sided, exact).

    `hits` of `trials`, a number of trials that was fixed beforehand. Where all are hits it is alpha^(1 / trials), below 1.
    """
    return max(0.0, float(betaincinv(hits, trials - hits + 1, alpha)) - ROUNDING) if hits else 0.0


def lower_bound_at_any_time(hits: int, trials: int, alpha: float) -> float:
    """A lower bound on a probability that may be looked at after every trial: all of them hold at once, but for alpha.

    The bound is the least p at which the wealth M(p) = E[(q/p)^hits ((1-q)/(1-p))^(trials-hits)] is below 1/alpha, for
    q drawn from Jeffreys' prior above p. At the true p, M is a martingale that begins at 1 and is never negative,
    so it ever reaches 1/alpha with probability at most alpha (Ville 1939), whatever rule stops the trials. A mixture over
    bets as in Waudby-Smith & Ramdas 2024 (arXiv:2010.09686); one-sided, as the prior lies above p.

    M falls in p up to (hits - 1/2) / trials: d log M / dp <= h(p) - (hits - trials p) / (p (1 - p)), and the prior's hazard
    h(p) is at most 1 / (2 p (1 - p)). From there to hits / trials, M <= e, below 1/alpha. So bisection finds the least.
    """
    if not hits:
        return 0.0
    goal = -math.log(alpha)
    low, high = 0.0, hits / trials
    for _ in range(60):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if _wealth(middle, hits, trials) >= goal else (low, middle)
    return max(0.0, low - ROUNDING)


def trials_needed(share: float, alpha: float) -> int:
    """How many trials, all of them hits, it takes for `lower_bound` to exceed `share`."""
    if not 0 < share < 1:
        return 0 if share <= 0 else 2**63 - 1
    return math.floor(math.log(alpha) / math.log(share)) + 1


def doubt(hits: int, misses: int, alternative: str = "greater") -> float:
    """The p-value of so many hits against misses where neither is likelier: an exact binomial test."""
    return float(binomtest(hits, hits + misses, 0.5, alternative=alternative).pvalue) if hits + misses else 1.0


def check_alpha(alpha: float, largest: float = 0.1) -> None:
    """Refuse an alpha that is no small probability.

    Raises:
        UsageError: not in (0, largest].
    """
    if not 0 < alpha <= largest:
        raise UsageError(f"alpha is the probability of being wrong, above 0 and at most {largest:g}; got {alpha:g}.")


def _wealth(p: float, hits: int, trials: int) -> float:
    """log M(p); -inf where it is too small to tell."""
    a, b = hits + 0.5, trials - hits + 0.5
    above, prior = float(betaincc(a, b, p)), float(betaincc(0.5, 0.5, p))
    if above <= 0 or prior <= 0 or p <= 0:
        return math.inf if p <= 0 else -math.inf
    misses = trials - hits
    odds = hits * math.log(p) + (misses * math.log1p(-p) if misses else 0.0)
    return float(betaln(a, b) - betaln(0.5, 0.5)) + math.log(above) - math.log(prior) - odds
