"""SIGINT and SIGTERM: the first stops the command at once, a second ends the process on the spot.

What was committed is on disk already, so nothing has to be finished first; the batch in flight is lost.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

CAUGHT = (signal.SIGINT, signal.SIGTERM)
SHOW_CURSOR = b"\x1b[?25h"


class Interrupted(BaseException):
    """A signal arrived. No `Exception`, so that code that survives errors of a model does not survive this."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass
class Signals:
    """The signal that arrived, if one did. It stays known where other code swallowed the exception."""

    received: int | None = None

    def check(self) -> None:
        """Raise again what arrived."""
        if self.received is not None:
            raise Interrupted(self.received)


current = Signals()
"""Of the command that runs now; a process runs one at a time."""


@contextmanager
def catching() -> Iterator[Signals]:
    """Turn signals into `Interrupted` while the block runs; one that the parent process had ignored stays ignored."""
    current.received = None
    if threading.current_thread() is not threading.main_thread():
        yield current
        return
    before = {number: signal.getsignal(number) for number in CAUGHT}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _on_signal)
    try:
        yield current
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def _on_signal(number: int, frame: FrameType | None) -> None:
    if current.received is not None:
        from robustly.report.gate import exit_code

        if sys.stdout.isatty():
            os.write(1, SHOW_CURSOR)
        os._exit(exit_code(signal=number))
    current.received = number
    raise Interrupted(number)
