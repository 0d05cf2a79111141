"""Robust accuracy against the size of the change, from what each example is known to withstand."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import NamedTuple

from robustly.core.records import Record, Row

FINEST = 300
"""Most steps that are drawn."""
BEYOND = 1.06
"""The curve ends at this multiple of the largest size audited, so that what falls exactly there is seen."""


class Step(NamedTuple):
    """Between two sizes: at least `certified` and at most `attacked` of all examples are robust."""

    begin: float
    end: float
    certified: float
    attacked: float


class Curve(NamedTuple):
    """clean: robust accuracy at size 0. largest: size audited. steps: from 0 to a little beyond it, no gaps."""

    clean: float
    largest: float
    steps: tuple[Step, ...]


def curve(record: Record) -> Curve | None:
    """The bracket as a function of eps; None where there are no sizes.

    An example broken at a distance is broken at every larger size, one certified at a size is certified at every
    smaller one. So the upper curve bounds robust accuracy from above and the lower from below, all along each step.
    """
    audited = [record.eps, *(point.eps for point in record.sweep)]
    largest = max((eps for eps in audited if eps is not None), default=0.0)
    count = len(record.rows)
    if not count or not largest > 0:
        return None
    read = sum(row.verdict not in ("misclassified", "invalid") for row in record.rows)
    breaks = sorted(eps for eps in map(broken_from, record.rows, [record.eps] * count) if eps is not None)
    safe = sorted(eps for eps in map(certified_to, record.rows, [record.eps] * count) if eps is not None)
    end = BEYOND * largest
    edges = sorted({0.0, largest, end, *(e for e in (*breaks, *safe) if 0 < e < end)})
    if len(edges) > FINEST:
        kept = {e for e in audited if e is not None and e <= largest}
        edges = sorted({largest * i / FINEST for i in range(FINEST)} | kept | {end})
    steps = (
        Step(a, b, (len(safe) - bisect_left(safe, b)) / count, (read - bisect_right(breaks, a)) / count)
        for a, b in pairwise(edges)
    )
    return Curve(read / count, largest, tuple(steps))


def broken_from(row: Row, eps: float | None) -> float | None:
    """The smallest size at which an example is known to be broken."""
    known = [d for d in (row.distance, row.broken_at) if d is not None]
    if row.verdict == "broken" and eps is not None:
        known.append(eps)  # a float32 distance may stand a hair above the size it was found at
    return min(known, default=None)


def certified_to(row: Row, eps: float | None) -> float | None:
    """The largest size at which an example is known to be certified."""
    known = [row.certified_at] if row.certified_at is not None else []
    if row.verdict == "certified" and eps is not None:
        known.append(eps)
    return max(known, default=None)
