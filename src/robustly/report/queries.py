"""What queries bought: success and distance against the questions an example took, from the rows of a record."""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

from robustly.core.records import Record


class Bought(NamedTuple):
    """After so many queries on an example: the share of the attacked examples that are broken, and their median distance
    from the clean input, None where the threat measures none."""

    queries: int
    success: float
    distance: float | None


class Queries(NamedTuple):
    """steps: from the fewest queries that broke an example on. attacked: examples read correctly when unperturbed. most:
    queries on any of them. each: the median of those that were broken. per_success: all queries by the successes."""

    steps: tuple[Bought, ...]
    attacked: int
    most: int
    each: float | None
    per_success: float | None


def queries(record: Record) -> Queries | None:
    """The curves of a record; None where the attacker had gradients, so that queries are not what counts, or nothing was
    attacked.

    Queries are forward passes, each on the account of an example: its clean input, its search, and the judge.
    """
    rows = [row for row in record.rows if row.verdict in ("broken", "unknown") and row.forward]
    if record.model.access == "gradients" or not rows:
        return None
    broken = [(r.broken_after, r.distance) for r in rows if r.verdict == "broken" and r.broken_after is not None]
    broken.sort(key=lambda pair: pair[0])
    steps: list[Bought] = []
    distances: list[float] = []
    for count, (after, distance) in enumerate(broken, 1):
        distances += [] if distance is None else [distance]
        step = Bought(after, count / len(rows), median(distances) if distances else None)
        if steps and steps[-1].queries == after:
            steps.pop()
        steps.append(step)
    total = sum(row.forward for row in rows) if record.endpoint is None else record.endpoint.queries
    return Queries(
        tuple(steps),
        len(rows),
        max(row.forward for row in rows),
        median(after for after, _ in broken) if broken else None,
        total / len(broken) if broken else None,
    )
