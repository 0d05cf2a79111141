"""Two records of the same examples: which verdicts changed, and could the difference be chance?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from robustly.core.errors import UsageError
from robustly.core.records import Record, Row, Verdict
from robustly.report.escape import visible
from robustly.report.plain import Plain
from robustly.report.words import class_name, percent, several

LISTED = 20
"""Changes that the rendering lists."""


@dataclass(frozen=True)
class Change:
    """An example whose verdict differs. index: its position in the first record."""

    index: int
    id: str
    label: str
    before: Verdict
    after: Verdict


@dataclass(frozen=True)
class Comparison:
    """Two records of the same data under the same threat.

    matched: examples in both. lost: robust in the first only; gained: in the second only; robust means not broken, not
    misclassified, not invalid. p_value: of the exact McNemar test of "no difference", two-sided. brackets: (certified,
    attacked) of each.
    """

    names: tuple[str, str]
    threat: str
    matched: int
    unmatched: tuple[int, int]
    changes: tuple[Change, ...]
    lost: int
    gained: int
    p_value: float
    brackets: tuple[tuple[float, float], tuple[float, float]]
    partial: tuple[bool, bool]


def compare(a: Record, b: Record) -> Comparison:
    """Compare two records example by example, matched by identity (the hash of input and label).

    The test is McNemar's (1947) in its exact form: if the two do not differ, each example that is robust in one record
    only is so in either with probability 1/2, which a binomial test on these examples judges.

    Raises:
        UsageError: other data, threat or goal; or no example in common.
    """
    for what, first, second in (
        ("data", a.data.digest, b.data.digest),
        ("threat", a.threat, b.threat),
        ("eps", a.eps, b.eps),
        ("goal", a.goal, b.goal),
    ):
        if first != second:
            raise UsageError(
                f"the two records differ in {what} ({visible(first, most=80)} and {visible(second, most=80)}), so they "
                "cannot be compared example by example. Audit both models on the same data under the same threat."
            )
    pairs = _matched(a, b)
    if not pairs:
        raise UsageError("the two records have no example in common.")
    changes = tuple(
        Change(x.index, x.id, class_name(a, x.label), x.verdict, y.verdict) for x, y in pairs if x.verdict != y.verdict
    )
    lost = sum(_robust(x) and not _robust(y) for x, y in pairs)
    gained = sum(_robust(y) and not _robust(x) for x, y in pairs)
    return Comparison(
        names=(a.model.name, b.model.name),
        threat=a.threat,
        matched=len(pairs),
        unmatched=(len(a.rows) - len(pairs), len(b.rows) - len(pairs)),
        changes=changes,
        lost=lost,
        gained=gained,
        p_value=mcnemar(lost, gained),
        brackets=((a.summary.certified, a.summary.attacked), (b.summary.certified, b.summary.attacked)),
        partial=(a.status != "complete", b.status != "complete"),
    )


def mcnemar(lost: int, gained: int) -> float:
    """The two-sided exact p-value for `lost` against `gained` discordant pairs; 1 if there are none."""
    if lost + gained == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained, 0.5).pvalue)


def comparison_table(found: Comparison) -> RenderableType:
    """The comparison for `rich`. Names cannot command the terminal."""
    return _Shown(found)


@dataclass(frozen=True)
class _Shown:
    found: Comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        found, plain = self.found, Plain(options.encoding)
        table = Table(box=None, pad_edge=False)
        table.add_column(plain.text(f"under {found.threat}"), overflow="fold")
        table.add_column("certified", justify="right")
        table.add_column("attacked", justify="right")
        table.add_column("")
        for mark, name, bracket, partial in zip("AB", found.names, found.brackets, found.partial, strict=True):
            ends = (plain.text(percent(end)) for end in bracket)
            table.add_row(plain.text(f"{mark}  {name}"), *ends, "partial" if partial else "")
        yield table
        yield Text()
        yield from map(plain.text, _lines(found))


def _lines(found: Comparison) -> list[str]:
    kinds = Counter((c.before, c.after) for c in found.changes)
    lines = [
        f"{several(found.matched, 'example')} in both, {len(found.changes):,} with another verdict",
        f"not broken only in A: {found.lost:,}, only in B: {found.gained:,}",
        f"exact McNemar test: p = {found.p_value:.3g} ({_reading(found)})",
        *(f"  {before} -> {after}: {count:,}" for (before, after), count in sorted(kinds.items())),
    ]
    lines += [f"  example {c.index} ({c.label}): {c.before} -> {c.after}" for c in found.changes[:LISTED]]
    if len(found.changes) > LISTED:
        lines.append(f"  and {len(found.changes) - LISTED:,} more")
    if any(found.unmatched):
        lines.append(f"left out, in one record only: {found.unmatched[0]:,} of A, {found.unmatched[1]:,} of B")
    return lines


def _reading(found: Comparison) -> str:
    if found.lost + found.gained == 0:
        return "no example is broken in one only"
    better = "A" if found.lost > found.gained else "B"
    return f"{better} withstands more, beyond chance" if found.p_value < 0.05 else "chance alone would explain it"


def _robust(row: Row) -> bool:
    return row.verdict not in ("broken", "misclassified", "invalid")


def _matched(a: Record, b: Record) -> list[tuple[Row, Row]]:
    """Rows of the same identity; the same example twice in the data is matched in order."""
    waiting: dict[str, list[Row]] = {}
    for row in reversed(b.rows):
        waiting.setdefault(row.id, []).append(row)
    return [(row, waiting[row.id].pop()) for row in a.rows if waiting.get(row.id)]
