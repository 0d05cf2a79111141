"""The entry point: reads the words, runs the command, and turns whatever happens into one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from robustly.cli.signals import Interrupted, Signals, catching


def main(words: Sequence[str] | None = None) -> int:
    """Run `robustly WORDS`; returns the exit code of `robustly.report.gate.exit_code`.

    words: what follows the program's name; None takes them from the process.
    """
    with catching() as signals:  # before anything slow is imported, so that no moment is without it
        try:
            return _run(tuple(sys.argv[1:] if words is None else words), signals)
        except Interrupted as stopped:  # while the command line itself was being loaded
            from robustly.report.gate import exit_code

            return exit_code(signal=stopped.number)


def _run(words: tuple[str, ...], signals: Signals) -> int:
    from cyclopts import CycloptsError

    from robustly.cli.commands import app
    from robustly.cli.failures import stopped_by, told, usage
    from robustly.cli.terminal import Terminal
    from robustly.report.gate import exit_code

    terminal = Terminal.of_process(words)
    verbose = False
    try:
        command, bound, wanted = app.parse_args(
            words, console=terminal.out, error_console=terminal.err, print_error=False, exit_on_error=False
        )
        verbose = bool(bound.arguments.get("verbose", False))
        code = command(*bound.args, **bound.kwargs, **dict.fromkeys(wanted, terminal))
        terminal.flush()
        return exit_code() if code is None else code
    except CycloptsError as error:
        return told(terminal, usage(error, words), verbose)
    except BaseException as error:
        if signals.received:
            return stopped_by(terminal, signals.received)
        return told(terminal, error, verbose)
