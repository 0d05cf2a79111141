"""Least distances of a benchmark: medians, frontiers, and who is as near in half the passes."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from bench.distances import Reached, best, frontier, ratio_at_half, read, write
from hypothesis import given
from hypothesis import strategies as st


def reached(passes: float, *distances: float, who: str = "ours") -> Reached:
    return Reached(who, "walk", f"steps {passes:g}", distances, round(passes * len(distances)), 0)


def test_an_unbroken_example_is_infinitely_far():
    one = reached(10, 1.0, 3.0, math.inf)
    assert (one.median, one.found, one.passes) == (3.0, 2 / 3, 10.0)
    assert reached(10, 1.0, math.inf, math.inf).median == math.inf
    assert reached(10, 1.0, 3.0, 4.0, math.inf).median == 3.5


def test_backward_passes_count_too():
    assert Reached("ours", "walk", "", (1.0, 1.0), 30, 20).passes == 25.0


def test_best_is_the_nearest_within_the_passes():
    near, cheap = reached(100, 1.0), reached(10, 2.0)
    assert best([near, cheap]) is near
    assert best([near, cheap], within=99) is cheap
    assert best([near, cheap], within=9) is None
    assert best([reached(200, 1.0), near]) is near


def test_half_the_passes_is_the_limit_and_belongs_to_it():
    peer = reached(100, 2.0, who="Peer")
    assert ratio_at_half([reached(50, 2.0)], peer) == 1.0
    assert ratio_at_half([reached(51, 1.0)], peer) == math.inf
    assert ratio_at_half([reached(51, 1.0), reached(20, 3.0)], peer) == 1.5
    assert ratio_at_half([], peer) == math.inf


@pytest.mark.parametrize(
    ("mine", "theirs", "ratio"),
    [(0.0, 0.0, 1.0), (1.0, 0.0, math.inf), (math.inf, 1.0, math.inf), (math.inf, math.inf, 1.0), (1.0, math.inf, 0.0)],
)
def test_ratios_at_the_ends(mine, theirs, ratio):
    assert ratio_at_half([reached(10, mine)], reached(40, theirs, who="Peer")) == ratio


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), max_size=12))
def test_frontier_holds_what_nobody_beats(pairs):
    found = [reached(passes, float(median)) for passes, median in pairs]
    edge = frontier(found)
    for one in found:
        assert any(e.passes <= one.passes and e.median <= one.median for e in edge)
    for a, b in pairwise(edge):
        assert a.passes < b.passes
        assert a.median > b.median


def test_frontier_leaves_out_what_has_no_median():
    assert frontier([reached(10, math.inf)]) == ()


def test_records_come_back_as_they_were(tmp_path):
    found = (reached(10, 0.25, math.inf, who="Peer"), Reached("ours", "a, b", "steps 5; steps 5", (0.0,), 3, 4))
    write(tmp_path / "deep" / "record.json", found)
    assert read(tmp_path / "deep" / "record.json") == found
    assert "Infinity" not in (tmp_path / "deep" / "record.json").read_text()
    assert read(tmp_path / "nothing.json") == ()
