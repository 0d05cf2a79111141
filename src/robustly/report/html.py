"""The report: one self-contained HTML file made from a record and its counterexamples, nothing else."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from robustly.core.points import write_atomically
from robustly.core.records import Record, Row, read_record
from robustly.report import panels, plots, tables, words
from robustly.report.escape import visible
from robustly.report.queries import queries
from robustly.report.query_plots import distance_curve, success_curve

MOST_ROWS = 200
"""Examples listed one by one; the others are in the record."""
MOST_LINES = 60
"""Stages, warnings and notes listed."""
MOST_TEXT = 2000
"""Characters of one piece of text from outside."""
FIRST: dict[str, int] = {"invalid": 0, "broken": 1, "unknown": 2, "misclassified": 3, "certified": 4}


def write_report(folder: Path | str) -> Path:
    """Write report.html beside the record of a run; the same record gives the same bytes.

    Raises:
        UsageError: no readable record there.
        RunError: the disk refused.
    """
    folder = Path(folder)
    path = folder / "report.html"
    write_atomically(path, report_html(read_record(folder)).encode())
    return path


def report_html(record: Record) -> str:
    """The report as one HTML text that needs no network, no script and no other file.

    Everything that came from data, models or names is escaped, and characters that hide are written out. However many
    examples there are, the file stays below some 3 MB: what is left out is said.
    """
    classes = tables.by_class(record)
    confusion = tables.confusion(record)
    shown_rows = sorted(record.rows, key=lambda row: (FIRST[row.verdict], row.index))[:MOST_ROWS]
    context = {
        "record": record,
        "summary": record.summary,
        "legend": [(v, plots.COLOURS[v], n, words.MEANING[v]) for v, n in words.counts(record).items()],
        "bracket": plots.bracket_bar(record),
        "bracket_small": plots.bracket_bar(record, wide=420),
        "curve": plots.accuracy_curve(record),
        "queries": (bought := queries(record)),
        "success_curve": success_curve(bought) if bought else None,
        "distance_curve": distance_curve(bought) if bought else None,
        "gallery": panels.gallery(record),
        "classes": classes,
        "class_count": tables.class_count(record),
        "confusion": confusion,
        "rows": shown_rows,
        "stages": record.stages[:MOST_LINES],
        "warnings": record.warnings[:MOST_LINES],
        "notes": record.notes[:MOST_LINES],
        "most_lines": MOST_LINES,
        "found_by": _found_by(record),
    }
    return _environment().get_template("report.html.j2").render(context)


@cache
def _environment() -> Environment:
    """Jinja with everything escaped, and hidden characters written out, on the way into the page."""
    environment = Environment(
        loader=PackageLoader("robustly.report"),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=words.percent, number=words.number, seconds=words.seconds, facts=panels.facts, share_bar=plots.share_bar
    )
    environment.globals.update(  # pyright: ignore[reportCallIssue]
        headline=words.headline,
        detail=words.detail,
        in_words=words.threat_in_words,
        class_name=words.class_name,
        several=words.several,
        why=_why,
        domain=words.domain,
        stacked=plots.stacked,
        colours=plots.COLOURS,
    )
    return environment


def _finalize(value: Any) -> Any:
    return value if isinstance(value, Markup) else visible(value, most=MOST_TEXT)


def _found_by(record: Record) -> list[tuple[str, str, int]]:
    """(verdict, spec, examples): who decided how many, most first."""
    found: dict[tuple[str, str], int] = {}
    for row in record.rows:
        if row.by and row.verdict in ("broken", "certified"):
            found[row.verdict, row.by] = found.get((row.verdict, row.by), 0) + 1
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return [(*key, count) for key, count in ordered[:MOST_LINES]]


def _why(row: Row) -> str:
    """What there is to say of one example in a list."""
    parts = [row.error, row.why, *row.flags]
    return ", ".join(part for part in parts if part)
