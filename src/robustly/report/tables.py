"""The tables of a report: by class, confusion under attack, and what each stage did."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from robustly.core.records import Record, Row

MOST_CLASSES = 20
"""Classes listed, the weakest first where there are more."""
MOST_PAIRS = 20
"""Pairs of classes listed where the whole confusion would be too large."""


class ClassLine(NamedTuple):
    """One class; counts of examples."""

    label: int
    examples: int
    clean: int
    certified: int
    attacked: int
    broken: int


class Confusion(NamedTuple):
    """counts[i][j]: examples of class labels[i] read as labels[j] under attack; the diagonal holds the robust ones.

    pairs: instead of the matrix where there are too many classes, (true, read, examples) most frequent first.
    """

    labels: tuple[int, ...]
    counts: tuple[tuple[int, ...], ...]
    pairs: tuple[tuple[int, int, int], ...]


def by_class(record: Record) -> list[ClassLine]:
    """All classes that occur, in order; of more than `MOST_CLASSES`, those with the least robust accuracy."""
    of: dict[int, Counter[str]] = {}
    for row in record.rows:
        of.setdefault(row.label, Counter())[row.verdict] += 1
    lines = []
    for label, n in sorted(of.items()):
        standing = n["certified"] + n["unknown"]
        lines.append(ClassLine(label, n.total(), standing + n["broken"], n["certified"], standing, n["broken"]))
    if len(lines) > MOST_CLASSES:
        lines = sorted(lines, key=lambda c: (c.attacked / c.examples, c.certified / c.examples, c.label))[:MOST_CLASSES]
    return lines


def class_count(record: Record) -> int:
    """How many classes occur."""
    return len({row.label for row in record.rows})


def confusion(record: Record) -> Confusion:
    """What the model answers at the worst input found for each example; invalid ones have no answer: left out."""
    pairs = Counter((row.label, read) for row in record.rows if (read := read_as(row)) is not None)
    labels = tuple(sorted({label for pair in pairs for label in pair}))
    if len(labels) <= MOST_CLASSES:
        return Confusion(labels, tuple(tuple(pairs[a, b] for b in labels) for a in labels), ())
    wrong = sorted(((n, pair) for pair, n in pairs.items() if pair[0] != pair[1]), key=lambda p: (-p[0], p[1]))
    return Confusion(labels, (), tuple((*pair, n) for n, pair in wrong[:MOST_PAIRS]))


def read_as(row: Row) -> int | None:
    """The class answered at the worst input that is known; None where there is no answer."""
    if row.verdict == "broken":
        return row.adversarial_label
    return {"misclassified": row.clean_label, "invalid": None}.get(row.verdict, row.label)
