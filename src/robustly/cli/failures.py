"""How a failure is told: one line on the standard error, a traceback only if asked for, and the code of the gate."""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence

from cyclopts import CycloptsError, MissingArgumentError

from robustly.cli.terminal import Terminal
from robustly.core.errors import RobustlyError, UsageError
from robustly.report.escape import visible
from robustly.report.gate import exit_code

HASH = "[0-9a-f]{64}"
DIGITS = 12
"""Of a hash, in what is said."""


def told(terminal: Terminal, error: BaseException, verbose: bool) -> int:
    """Say what went wrong; returns the exit code."""
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit would fail once more
        return exit_code(error=error)
    if verbose:
        for line in "".join(traceback.format_exception(error)).splitlines():
            terminal.complain(line)
    terminal.complain(f"error: {_sentence(error, verbose)}", style="red")
    return exit_code(error=error)


def usage(error: CycloptsError, words: Sequence[str]) -> UsageError:
    """A mistake in the words themselves, with where to look it up."""
    known = error.command_chain or ()
    page = " ".join(["robustly", *known, "--help"])
    said = _one_line(str(error))
    if isinstance(error, MissingArgumentError) and error.argument is not None and error.argument.name == "--threat":
        said = "missing --threat, say --threat linf:8/255"
    return UsageError(f"{said if said.endswith('?') else said.rstrip('.') + '.'} See: {page}")


def stopped_by(terminal: Terminal, number: int) -> int:
    """Say that a signal ended the command, and how to go on; returns the exit code."""
    first, *rest = terminal.advice or ("",)
    terminal.complain(f"stopped by {signal.Signals(number).name}. {first}".rstrip(), style="yellow")
    for line in rest:
        terminal.complain(line)
    return exit_code(signal=number)


def _sentence(error: BaseException, verbose: bool) -> str:
    if isinstance(error, RobustlyError):
        return _shorter(_one_line(str(error)))
    hint = "" if verbose else " (add -v for the traceback)"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {visible(error.filename)}{hint}"
    if isinstance(error, SystemExit):
        return f"the model's or the data's own code ended the process with exit({error.code}){hint}"
    return f"{type(error).__name__}: {_one_line(str(error)) or 'no message'}{hint}"


def _shorter(text: str) -> str:
    """Hashes by their first digits; where those of the data differ, what that means."""
    data = re.search(rf"\bdata: '{HASH}' -> '{HASH}'", text)
    hint = " The data differ: --limit is another one, or the file was changed." if data else ""
    return re.sub(f"'({HASH})'", lambda found: found[1][:DIGITS], text) + hint


def _one_line(text: str) -> str:
    return " ".join(text.split())
