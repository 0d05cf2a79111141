"""Faults come at their rates, each its own, and the same in every run whatever the order."""

from collections import Counter

import pytest

from robustly.core.errors import UsageError
from robustly.serving.faults import KINDS, Faults

MIXED = Faults(fail=0.06, busy=0.05, drop=0.04, slow=0.03, half=0.02, malformed=0.01, seed=7)
INPUTS = [(f"{i:064x}",) for i in range(20_000)]


def test_each_kind_comes_at_its_rate():
    met = Counter(MIXED.of(one, 1) for one in INPUTS)
    wanted = {"500": 0.02, "502": 0.02, "503": 0.02, "429": 0.05, "drop": 0.04, "slow": 0.03, "half": 0.02}
    for kind, rate in {**wanted, "malformed": 0.01, None: 0.79}.items():
        spread = (rate * (1 - rate) / len(INPUTS)) ** 0.5
        assert abs(met[kind] / len(INPUTS) - rate) < 4 * spread, kind
    assert set(met) == {*KINDS, None}


def test_they_belong_to_the_inputs_and_not_to_the_order():
    first = [MIXED.of(one, 1) for one in INPUTS[:2000]]
    assert first == [MIXED.of(one, 1) for one in reversed(INPUTS[:2000])][::-1]
    assert first != [Faults(fail=0.21, seed=8).of(one, 1) for one in INPUTS[:2000]]


def test_another_arrival_draws_anew():
    failed = [one for one in INPUTS if MIXED.of(one, 1)]
    again = sum(MIXED.of(one, 2) is not None for one in failed)
    assert abs(again / len(failed) - 0.21) < 0.03


def test_none_and_all():
    assert {Faults().of(one, 1) for one in INPUTS[:500]} == {None}
    assert {Faults(drop=1.0).of(one, 1) for one in INPUTS[:500]} == {"drop"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"fail": -0.1}, "rate of fail"),
        ({"busy": 1.1}, "rate of 429"),
        ({"drop": float("nan")}, "rate of drop"),
        ({"fail": 0.6, "half": 0.6}, "sum up to 1.2"),
        ({"seconds": -1.0}, "slow answer"),
    ],
)
def test_impossible_rates(settings, said):
    with pytest.raises(UsageError, match=said):
        Faults(**settings)


def test_what_a_429_says():
    assert Faults(retry_after="7").headers("429") == {"retry-after": "7"}
    assert Faults(retry_after="").headers("429") == {}
    assert Faults(retry_after="date").headers("429")["retry-after"].endswith(" GMT")
    assert Faults().headers("503") == {}


@pytest.mark.parametrize("words", ["1\r\nx-other: 1", "1\n", "später"])
def test_words_that_are_no_header_are_refused(words):
    with pytest.raises(UsageError, match="one line"):
        Faults(busy=0.1, retry_after=words)
