"""Many writes, few commits: whatever came within a few milliseconds goes into one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from robustly.adapters.endpoint.kept import Kept, Send

LINGER = 0.005
"""Seconds that an answer waits for others to go on disk with, no longer than a commit may take. A process that is killed
pays the answers of that time again; they are booked, so that the budget holds."""


class Writer:
    """Writes to a store from a running event loop, in order: rows are entered in its thread, the commit waits in another.

    SQLite gives up the interpreter's lock at every row, and a thread that enters them waits for a busy loop each time.
    """

    def __init__(self, kept: Kept, disk: ThreadPoolExecutor) -> None:
        self._kept, self._disk = kept, disk
        self._sends: list[Send] = []
        self._answers: list[tuple[bytes, Any, int]] = []
        self._next: asyncio.Future[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._busy: asyncio.Task[None] | None = None
        self._failed: Exception | None = None

    def write(self, sends: Iterable[Send] = (), answers: Iterable[tuple[bytes, Any, int]] = ()) -> asyncio.Future[None]:
        """Done once all of it is on disk. Not awaited, it goes on by itself; `settled` waits for the rest.

        Answers, which nobody uses before `settled`, wait `LINGER` for others; questions, which wait to be sent, do not.

        Raises (also where it is awaited):
            RunError: the disk refused, this write or an earlier one.
        """
        if self._failed is not None:
            raise self._failed
        self._sends.extend(sends)
        self._answers.extend(answers)
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        self._go_on()
        return self._next

    async def settled(self) -> None:
        """Wait until everything is on disk.

        Raises:
            RunError: the disk refused.
        """
        self._start()
        while self._busy is not None:
            await asyncio.shield(self._busy)
            self._start()
        if self._failed is not None:
            raise self._failed

    def _go_on(self) -> None:
        """See that what waits gets its commit: now where somebody waits for it, else soon."""
        if self._sends:
            self._start()
        elif self._next is not None and self._later is None:
            self._later = asyncio.get_running_loop().call_later(LINGER, self._start)

    def _start(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._busy is None and self._next is not None:
            self._busy = asyncio.create_task(self._commit(self._next))

    async def _commit(self, done: asyncio.Future[None]) -> None:
        sends, answers = self._sends, self._answers
        self._next, self._sends, self._answers = None, [], []
        try:
            self._kept.enter(sends, answers)
            await asyncio.get_running_loop().run_in_executor(self._disk, self._kept.commit)
        except Exception as error:
            self._failed = self._failed or error
        if self._failed is None:
            done.set_result(None)
        else:  # what came meanwhile was still tried, but nobody goes on from it
            done.set_exception(self._failed)
            done.exception()  # whoever waits has it; where nobody does, `settled` raises it
        self._busy = None
        self._go_on()
