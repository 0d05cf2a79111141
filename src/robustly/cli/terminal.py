"""Where a command writes: results and progress to the standard output, errors to the standard error."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console, RenderableType
from rich.text import Text

from robustly.report.escape import visible

WIDE = 110
"""Columns where the output is no terminal and nothing says how wide it is."""


class Screen(Console):
    """A console that goes on in silence when nobody reads it any more, so that `| head` ends no audit."""

    def on_broken_pipe(self) -> None:
        """Write to nowhere from now on; rich itself would exit."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


@dataclass
class Terminal:
    """out, err: consoles on which nothing is read as markup. words: the command line after the program's name.

    advice: lines to say if a signal ends the command.
    """

    out: Console
    err: Console
    words: tuple[str, ...]
    advice: tuple[str, ...] = ()

    @classmethod
    def of_process(cls, words: tuple[str, ...]) -> Terminal:
        """The terminal of this process, whatever its encoding: what it can't show becomes a question mark."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        return cls(_console(sys.stdout), _console(sys.stderr), words)

    @property
    def live(self) -> bool:
        """Can lines be redrawn? Asked of the file itself, since some CI servers only pretend to have colours."""
        return self.out.file.isatty() and not self.out.is_dumb_terminal

    @property
    def command(self) -> str:
        """The exact command line, to be pasted into a shell."""
        return shlex.join(["robustly", *self.words]).encode("utf-8", "backslashreplace").decode()

    @property
    def again(self) -> str:
        """The same, with the program as it was called here."""
        return self.again_without(None)

    def again_without(self, option: str | None) -> str:
        """The same, less an option that takes one value."""
        words: list[str] = []
        skip = False
        for word in self.words:
            if not skip and word != option and not (option and word.startswith(f"{option}=")):
                words.append(word)
            skip = word == option and not skip
        return shlex.join([*_program(), *words])

    def say(self, text: str, style: str = "") -> None:
        """A line; hidden characters in it are written out, nothing in it is markup."""
        self.out.print(Text(visible(text), style=style), soft_wrap=True)

    def show(self, thing: RenderableType) -> None:
        """A table or another picture."""
        self.out.print(thing)

    def complain(self, text: str, style: str = "") -> None:
        """A line on the standard error."""
        self.err.print(Text(visible(text), style=style), soft_wrap=True)

    def flush(self) -> None:
        """Write what is still buffered, so that a full disk is noticed."""
        try:
            self.out.file.flush()
        except BrokenPipeError:
            self.out.on_broken_pipe()


def _console(stream: TextIO) -> Screen:
    width = None if stream.isatty() or "COLUMNS" in os.environ else WIDE
    return Screen(file=stream, width=width, markup=False, highlight=False, emoji=False)


def _program() -> list[str]:
    called = sys.argv[0]
    if os.path.basename(called) == "__main__.py":
        return [os.path.basename(sys.executable), "-m", "robustly"]
    name = os.path.basename(called)
    found = shutil.which(name)
    return [name if found and os.path.samefile(found, called) else called] if os.path.exists(called) else ["robustly"]
