"""The page of benchmarks, from records."""

from __future__ import annotations

from bench.bars import Bar, Outcome
from docs.benchmarks import cell, page, records, table


def record(name: str, measured: float) -> dict:
    bars = (Bar("ratio", 1.0, measured),)
    return {**Outcome(name, "some examples", ("who", "F"), (("ours", 1234567),), bars).as_dict(), "machine": "a box"}


def test_every_record_has_its_table_and_its_bars():
    text = page({"minnorm-l1": record("minnorm", 0.5), "minnorm-l2": record("minnorm", 1.5)}, ["minnorm-l2"])
    assert text.count("## Least distances") == 1
    assert text.count("| ours | 1,234,567 |") == 2
    assert "| ratio | ≤ 1 | 0.5 | holds |" in text
    assert "| ratio | ≤ 1 | 1.5 | **falls short** |" in text
    assert text.count("![distance against passes](../bench/results/minnorm-l2.svg)") == 1
    assert "a box" in text


def test_cells():
    assert [cell(v) for v in (None, "a", 3, 1234, 0.123456, 12.0, 34567.0)] == [
        "–", "a", "3", "1,234", "0.1235", "12", "34,567",
    ]  # fmt: skip


def test_numbers_stand_to_the_right_and_bars_in_cells_stay_cells():
    assert table(("a", "b"), [("x|y", 1)]) == ["| a | b |", "| --- | ---: |", "| x\\|y | 1 |"]


def test_the_kept_records_can_be_told():
    found = records()
    assert "pgd-cpu" in found
    text = page(found)
    assert all(f"### {stem}\n" in text for stem in found)
