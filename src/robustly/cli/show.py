"""robustly show: a finished run in the terminal, or one example of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from robustly.cli import options

if TYPE_CHECKING:
    from robustly.core.records import Record, Row


def show(
    run: options.Run,
    /,
    *,
    example: Annotated[str | None, Parameter(help="One example: its number, or the beginning of its id.")] = None,
    verbose: options.Verbose = False,
    here: options.Here,
) -> int:
    """Show the summary of a run, or all that is known of one example.

    The model is not needed.
    """
    from robustly.core.records import read_record
    from robustly.report.gate import exit_code
    from robustly.report.terminal import example_table, summary_table

    record = read_record(run)
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

    if word.isdecimal():
        exact = [row for row in record.rows if row.index == int(word)]
        if exact:
            return exact[0]
    found = [row for row in record.rows if row.id.startswith(word)] if word else []
    if len(found) == 1:
        return found[0]
    last = max((row.index for row in record.rows), default=-1)
    many = f"{len(found)} examples have an id that begins with" if found else "there is no example"
    raise UsageError(f'{many} "{word}". Give a number from 0 to {last}, or the beginning of an id in record.json.')
