"""Bounds on a probability: equal to Clopper and Pearson's, and right as often as they say, by exact enumeration."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from robustly.core.errors import UsageError
from robustly.steps.binomial import (
    check_alpha,
    doubt,
    lower_bound,
    lower_bound_at_any_time,
    trials_needed,
)


@pytest.mark.parametrize(("hits", "trials"), [(0, 5), (3, 7), (50, 50), (99_000, 100_000), (100_000, 100_000)])
@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-7])
def test_the_fixed_bound_is_that_of_clopper_and_pearson(hits, trials, alpha):
    exact = binomtest(hits, trials).proportion_ci(1 - 2 * alpha, method="exact").low
    assert lower_bound(hits, trials, alpha) == pytest.approx(exact, abs=1e-9)
    assert lower_bound(trials, trials, alpha) == pytest.approx(alpha ** (1 / trials), rel=1e-9)


@pytest.mark.parametrize("p", [0.03, 0.5, 0.9, 0.999])
def test_the_fixed_bound_is_wrong_at_most_so_often(p):
    n, alpha = 60, 0.05
    chance = sum(binom.pmf(k, n, p) for k in range(n + 1) if lower_bound(k, n, alpha) > p)
    assert chance <= alpha


def crossing(bound, p, alpha, most):
    """Exact probability that the bound ever exceeds the true p within so many trials, looked at after each."""
    alive, crossed, least = np.array([1.0]), 0.0, 1
    for n in range(1, most + 1):
        alive = np.append(alive * (1 - p), 0.0) + np.append(0.0, alive * p)
        while least <= n and bound(least, n, alpha) <= p:
            least += 1
        while least > 1 and bound(least - 1, n, alpha) > p:
            least -= 1
        crossed += alive[least:].sum()
        alive[least:] = 0.0
    return crossed


@pytest.mark.parametrize("p", [0.02, 0.5, 0.75, 0.97])
def test_the_bound_at_any_time_may_be_looked_at_after_every_trial(p):
    alpha = 0.05
    assert 0 < crossing(lower_bound_at_any_time, p, alpha, 400) <= alpha
    if p >= 0.5:
        assert crossing(lower_bound, p, alpha, 400) > alpha  # so the fixed one may not


def test_the_bound_at_any_time_costs_little():
    for hits, trials in ((100, 100), (9_900, 10_000), (100_000, 100_000)):
        fixed, any_time = (f(hits, trials, 1e-3) for f in (lower_bound, lower_bound_at_any_time))
        assert fixed > any_time > 1 - 1.3 * (1 - fixed)


def test_trials_needed_is_exact():
    for share, alpha in ((0.5, 1e-3), (0.9, 1e-3), (0.999, 1e-5)):
        n = trials_needed(share, alpha)
        assert lower_bound(n, n, alpha) > share >= lower_bound(n - 1, n - 1, alpha)
    assert trials_needed(1.0, 0.1) > 10**12


def test_doubt_and_alpha():
    assert doubt(0, 0) == 1.0
    assert doubt(60, 40) == pytest.approx(binom.sf(59, 100, 0.5))
    assert doubt(60, 40, "two-sided") == pytest.approx(2 * binom.sf(59, 100, 0.5))
    for alpha in (0, -1, 0.5, float("nan")):
        with pytest.raises(UsageError, match="alpha"):
            check_alpha(alpha)
