"""The profile's counts and shares."""

from __future__ import annotations

import pytest
import torch
from bench.speed import Calls, alternating, ratio, traced

from robustly.goals import Goal
from robustly.losses import cross_entropy
from robustly.oracle import Model, Oracle
from robustly.threats import Domain, Linf


def test_shares_of_full_and_thin_calls():
    calls = Calls(forward=[(100, 1.0), (100, 1.0), (10, 0.5)], backward=[(100, 3.0), (1, 0.4)])
    assert calls.seconds == pytest.approx(5.9)
    assert calls.rows == pytest.approx(70)
    assert calls.thin == pytest.approx(0.9)
    assert calls.idle == pytest.approx(0.4 + 0.37)  # 10 rows would take 0.1, 1 row 0.03
    assert Calls(forward=[(2, 1.0)]).idle == 0  # no full call to measure the rate by


def test_every_pass_is_seen_once():
    model, calls = traced(Model(lambda z: torch.stack((0.5 - z[:, 0], z[:, 0] - 0.5), 1), Domain(0.0, 1.0), classes=2))
    x = torch.full((3, 2), 0.2)
    oracle = Oracle(model, Linf(0.1).at(x, Domain(0.0, 1.0)), Goal(torch.zeros(3, dtype=torch.long)))
    oracle.gradient(x, cross_entropy)
    oracle.scores(x)
    assert [n for n, _ in calls.forward] == [3, 3]
    assert [n for n, _ in calls.backward] == [3]
    assert all(s >= 0 for _, s in (*calls.forward, *calls.backward))


def test_ways_run_in_turn():
    seen: list[str] = []
    one, other = alternating(lambda: seen.append("a"), lambda: seen.append("b"))
    assert "".join(seen) == "ab" * len(one)
    assert len(one) == len(other)
    assert ratio([2.0, 4.0], [1.0, 5.0]) == 2.0
