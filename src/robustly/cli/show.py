"""robustly show: a finished run in the terminal, or one example of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from robustly.cli import options

if TYPE_CHECKING:
    from robustly.core.records import Record, Row


SHORTEST = 8
"""Digits of an id that name an example; what is shorter is its number."""


def show(
    run: options.Run,
    /,
    *,
    example: Annotated[str | None, Parameter(help="One example: its number, or 8 or more digits of its id.")] = None,
    verbose: options.Verbose = False,
    here: options.Here,
) -> int:
    """Show the summary of a run, or all that is known of one example.

    The model is not needed.
    """
    from robustly.cli.opening import open_record
    from robustly.report.gate import exit_code
    from robustly.report.terminal import example_table, summary_table

    record = open_record(run)
    if example is None:
        here.show(summary_table(record))
        for note in record.notes if verbose else ():
            here.say(f"note: {note}")
    else:
        here.show(example_table(record, find(record, example).index))
    return exit_code()


def find(record: Record, word: str) -> Row:
    """The row of that number, or whose id begins like that.

    Raises:
        UsageError: none, or several.
    """
    from robustly.core.errors import UsageError

    number = int(word) if word.isdecimal() and word.isascii() and len(word) < SHORTEST else None
    found = [row for row in record.rows if row.index == number]
    if number is None and len(word) >= SHORTEST:
        found = [row for row in record.rows if row.id.startswith(word)]
    if len(found) == 1:
        return found[0]
    last = max((row.index for row in record.rows), default=-1)
    many = f"{len(found)} examples have an id that begins with" if found else "there is no example"
    raise UsageError(
        f'{many} "{word}". Give a number from 0 to {last}, or the first {SHORTEST} or more digits of an id.'
    )
