"""A record in the terminal: plain text that any terminal can show, colours where it has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from robustly.core.errors import RobustlyError, UsageError
from robustly.core.records import Record, Row, Verdict
from robustly.report.plain import Plain
from robustly.report.stages import stage_names
from robustly.report.texts import pieces, shortened
from robustly.report.words import VERDICTS, class_name, counts, headline, number, percent, seconds, several

STYLES: dict[Verdict, str] = {
    "certified": "blue",
    "unknown": "cyan",
    "broken": "red",
    "misclassified": "bright_black",
    "invalid": "magenta",
}
MARKS: dict[Verdict, str] = {"certified": "#", "unknown": "?", "broken": "x", "misclassified": "-", "invalid": "!"}
WIDTH = 60
"""Characters of the bar."""
MOST = 20
"""Stages, warnings and notes shown."""


@dataclass(frozen=True)
class Summary:
    """What rich prints for a record."""

    record: Record

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """The sentence, the bar, the numbers, the stages, the warnings, the limits."""
        record, plain = self.record, Plain(options.encoding)
        yield plain.text(headline(record), "bold")
        if record.status == "partial":
            yield plain.text(f"partial run: {record.why_partial or 'it ended before the plan did'}", "yellow")
        yield Text()
        yield _bar(record)
        yield Text()
        yield _numbers(record, plain)
        yield Text()
        yield _stages(record, plain)
        for title, lines, style in (("warnings", record.warnings, "yellow"), ("not tested", record.not_tested, "")):
            if lines:
                yield Text()
                yield plain.text(title, "bold")
                for line in lines[:MOST]:
                    yield Padding(plain.text(f"- {line}", style), (0, 0, 0, 2))
                if len(lines) > MOST:
                    yield Text(f"  and {len(lines) - MOST} more")


def summary_table(record: Record) -> RenderableType:
    """A record for `rich`: verdict, bar, numbers, stages, warnings, not tested. Names cannot command the terminal."""
    return Summary(record)


def example_table(record: Record, index: int) -> RenderableType:
    """All that is known of one example.

    Raises:
        UsageError: no such example.
    """
    row = next((r for r in record.rows if r.index == index), None)
    if row is None:
        known = f"0 to {record.rows[-1].index}" if record.rows else "none"
        raise UsageError(f"there is no example {index} in this record. Known: {known}.")
    return _Example(record, row)


@dataclass(frozen=True)
class _Example:
    record: Record
    row: Row

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        plain, row = Plain(options.encoding), self.row
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="dim")
        table.add_column(overflow="fold")
        for key, value in row.model_dump().items():
            if value not in (None, ()):
                table.add_row(key.replace("_", " "), plain.text(_told(self.record, key, value)))
        yield table
        if self.record.data.kind == "text" and row.counterexample:
            yield from _texts(self.record, row, plain)


MARKED = {"same": ("", "", ""), "gone": ("[-", "-]", "red"), "new": ("{+", "+}", "green")}
"""Signs and style of a piece of text that is the same, gone or new."""
LABELS = ("label", "clean_label", "adversarial_label")


def _told(record: Record, key: str, value: Any) -> str:
    """A field of a row as it is read: classes by name, the stages of the plan counted from 1."""
    if key in LABELS:
        name = class_name(record, value)
        return str(value) if name == str(value) else f"{value} ({name})"
    if key == "stage":
        return f"{value + 1} of {len(record.plan_stages)}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _texts(record: Record, row: Row, plain: Plain) -> Iterator[RenderableType]:
    """Both texts, then one with the edits marked as [-gone-] and {+new+}."""
    try:
        adversarial, clean = map(str, record.pair(row.index))
    except RobustlyError as error:
        yield plain.text(f"the texts cannot be shown: {error}", "yellow")
        return
    marked = Text()
    for piece in shortened(pieces(clean, adversarial)):
        before, after, style = MARKED[piece.kind]
        marked.append_text(plain.text(f"{before}{piece.text}{after}", style))
    for title, text in (("original", plain.text(clean)), ("counterexample", plain.text(adversarial))):
        yield Text()
        yield plain.text(title, "bold")
        yield Padding(text, (0, 0, 0, 2))
    yield Text()
    yield plain.text("difference: [-gone-] {+new+}", "bold")
    yield Padding(marked, (0, 0, 0, 2))


def _bar(record: Record) -> Text:
    """The verdicts as a bar of characters; every verdict that occurs has at least one."""
    n = record.summary.examples
    out = Text("[")
    found = counts(record)
    edges, at = [0], 0
    for verdict in VERDICTS:
        at += found[verdict]
        edges.append(round(WIDTH * at / n) if n else 0)
    for verdict, begin, end in zip(VERDICTS, edges, edges[1:], strict=False):
        out.append(MARKS[verdict] * max(end - begin, int(found[verdict] > 0)), STYLES[verdict])
    return out.append("]")


def _numbers(record: Record, plain: Plain) -> Table:
    s = record.summary
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim", overflow="fold")
    level = percent(s.population.level, 0)
    lines = [
        (
            "clean accuracy",
            percent(s.clean),
            f"{percent(s.clean_interval.low)} to {percent(s.clean_interval.high)} in the population ({level})",
        ),
        (
            "robust, at least",
            percent(s.certified),
            f"certified; population {percent(s.population.low)} or more ({level})",
        ),
        (
            "robust, at most",
            percent(s.attacked),
            f"not broken; population {percent(s.population.high)} or less ({level})",
        ),
    ]
    for verdict, count in counts(record).items():
        share = percent(count / s.examples) if s.examples else "-"
        lines.append((f"{MARKS[verdict]} {verdict}", f"{count:,}", share))
    lines.append(("cost", seconds(s.seconds), f"{s.forward:,} forward + {s.backward:,} backward passes"))
    lines.append(
        (
            "run",
            record.status,
            f"{several(s.examples, 'example')}, plan {record.plan}, seed {record.seed}",
        )
    )
    for name, value, remark in lines:
        style = STYLES.get(name[2:], "")  # type: ignore[call-overload]
        table.add_row(plain.text(name, style), plain.text(value, "bold"), plain.text(remark))
    return table


def _stages(record: Record, plain: Plain) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage", overflow="fold")
    for heading in ("eps", "asked", "decided", "forward", "backward", "time"):
        table.add_column(heading, justify="right")
    names = stage_names(record.stages)
    for stage, name in zip(record.stages[:MOST], names, strict=False):
        cells = (
            number(stage.eps),
            f"{stage.asked:,}",
            f"{stage.decided:,}",
            f"{stage.forward:,}",
            f"{stage.backward:,}",
        )
        table.add_row(plain.text(name), *map(plain.text, cells), plain.text(seconds(stage.seconds)))
    if len(record.stages) > MOST:
        table.add_row(Text(f"and {len(record.stages) - MOST} more"))
    return table
