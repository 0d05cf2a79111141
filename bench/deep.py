"""The plan `deep` against `standard`, in full, on the same examples: what standard breaks and deep doesn't must be nothing.

The first N examples of each model that the package carries, at the radii given; both plans with the same seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.bars import Bar, Outcome
from robustly import audit
from robustly.core.records import Record
from robustly.zoo.load import images, network

THREATS = ("linf:0.1", "l2:1.5", "l1:6")
COLUMNS = ("model", "threat", "N", "standard RA", "F", "B", "deep RA", "F", "B", "by deep alone", "by standard alone")
NETS = ("fashion_adversarial",)


def run(limit: int = 30, subjects: Sequence[str] = ()) -> Outcome:
    """The benchmark on the first `limit` examples."""
    rows: list[tuple[Any, ...]] = []
    bars: list[Bar] = []
    for name in subjects or NETS:
        for threat in THREATS:
            records = [ran(name, threat, plan, limit) for plan in ("standard", "deep")]
            standard, deep = (broken(record) for record in records)
            robust = [f"{record.summary.attacked:.4f}" for record in records]
            spent = [(record.summary.forward, record.summary.backward) for record in records]
            lost, won = len(standard - deep), len(deep - standard)
            rows.append((name, threat, limit, robust[0], *spent[0], robust[1], *spent[1], won, lost))
            bars.append(Bar(f"{name} {threat}: broken by standard and not by deep", 0.0, float(lost)))
    return Outcome("deep", "plans deep and standard, seed 0", COLUMNS, tuple(rows), tuple(bars))


def ran(name: str, threat: str, plan: str, limit: int) -> Record:
    """An audit of a carried model on the first images."""
    x, y, _ = images("fashion")
    return audit(network(name), (x[:limit], y[:limit]), threat, plan, range=(0, 1))


def broken(record: Record) -> frozenset[int]:
    """Places of the examples that were read rightly and then broken."""
    return frozenset(row.index for row in record.rows if row.verdict == "broken")
