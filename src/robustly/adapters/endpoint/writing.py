"""Many writes, few commits: whatever came in while the disk was busy goes into the next transaction together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from robustly.adapters.endpoint.kept import Kept, Send


class Writer:
    """Writes to a store from a running event loop, in order: rows are entered in its thread, the commit waits in another.

    SQLite gives up the interpreter's lock at every row, and a thread that enters them waits for a busy loop each time.
    """

    def __init__(self, kept: Kept, disk: ThreadPoolExecutor) -> None:
        self._kept, self._disk = kept, disk
        self._sends: list[Send] = []
        self._answers: list[tuple[bytes, Any, int]] = []
        self._next: asyncio.Future[None] | None = None
        self._busy: asyncio.Task[None] | None = None
        self._failed: Exception | None = None

    def write(self, sends: Iterable[Send] = (), answers: Iterable[tuple[bytes, Any, int]] = ()) -> asyncio.Future[None]:
        """Done once all of it is on disk. Not awaited, it goes on by itself; `settled` waits for the rest.

        Raises (also where it is awaited):
            RunError: the disk refused, this write or an earlier one.
        """
        if self._failed is not None:
            raise self._failed
        self._sends.extend(sends)
        self._answers.extend(answers)
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        if self._busy is None:
            self._busy = asyncio.create_task(self._drain())
        return self._next

    async def settled(self) -> None:
        """Wait until everything is on disk.

        Raises:
            RunError: the disk refused.
        """
        while self._busy is not None:
            await asyncio.shield(self._busy)
        if self._failed is not None:
            raise self._failed

    async def _drain(self) -> None:
        try:
            await asyncio.sleep(0)  # what is booked because an answer came goes with the answer
            while self._next is not None:
                done, sends, answers = self._next, self._sends, self._answers
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
        finally:
            self._busy = None
