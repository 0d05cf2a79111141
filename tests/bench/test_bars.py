"""Bars, and the text of an outcome."""

from __future__ import annotations

import json
import math

from bench.__main__ import plain
from bench.bars import Bar, Outcome, printed


def test_a_bar_holds_on_its_own_side_and_at_its_limit():
    assert Bar("a", 1.0, 1.0).holds
    assert not Bar("a", 1.0, 1.0001).holds
    assert Bar("a", 20.0, 20.0, at_most=False).holds
    assert not Bar("a", 20.0, 19.9, at_most=False).holds


def test_what_was_not_measured_holds_nothing():
    assert not Bar("a", 1.0, math.inf).holds
    assert not Bar("a", 1.0, math.nan).holds
    assert not Bar("a", 1.0, math.nan, at_most=False).holds


def outcome() -> Outcome:
    bars = (Bar("first", 1.0, 0.5), Bar("second", 1.0, 2.0))
    return Outcome("name", "a setting", ("who", "median"), (("ours", 0.5), ("Peer", None)), bars, ("a note",))


def test_the_text_has_the_table_the_notes_and_the_count():
    text = printed(outcome())
    assert "ours  0.500" in text
    assert "Peer  -" in text
    assert "a note" in text
    assert text.endswith("1 hold, 1 fall short")


def test_a_record_is_json_for_every_reader():
    told = plain({"rows": ((math.inf, 1.0), (math.nan, "x")), "bars": [{"measured": math.inf}]})
    assert told == {"rows": [[None, 1.0], [None, "x"]], "bars": [{"measured": None}]}
    json.dumps(plain(outcome().as_dict()), allow_nan=False)
