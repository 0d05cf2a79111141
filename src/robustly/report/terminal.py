"""A record in the terminal: plain text that any terminal can show, colours where it has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from robustly.core.errors import UsageError
from robustly.core.records import Record, Row, Verdict
from robustly.report.plain import Plain
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
        classes = {"label": row.label, "clean_label": row.clean_label, "adversarial_label": row.adversarial_label}
        for key, value in row.model_dump().items():
            if value in (None, ()):
                continue
            if key in classes:
                value = f"{value} ({class_name(self.record, classes[key])})"
            value = ", ".join(value) if isinstance(value, tuple) else value
            table.add_row(key.replace("_", " "), plain.text(value))
        yield table


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
    for stage in record.stages[:MOST]:
        cells = (
            number(stage.eps),
            f"{stage.asked:,}",
            f"{stage.decided:,}",
            f"{stage.forward:,}",
            f"{stage.backward:,}",
        )
        table.add_row(plain.text(stage.name), *map(plain.text, cells), plain.text(seconds(stage.seconds)))
    if len(record.stages) > MOST:
        table.add_row(Text(f"and {len(record.stages) - MOST} more"))
    return table
