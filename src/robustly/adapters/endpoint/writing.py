"""Many writes, few commits: whatever came in while the disk was busy goes into the next transaction together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from robustly.adapters.endpoint.kept import Kept, Send


class Writer:
    """Writes to a store from a running event loop, in a thread of its own, in order."""

    def __init__(self, kept: Kept, disk: ThreadPoolExecutor) -> None:
        self._kept, self._disk = kept, disk
        self._sends: list[Send] = []
        self._answers: list[tuple[bytes, Any, int]] = []
        self._next: asyncio.Future[None] | None = None
        self._busy: asyncio.Task[None] | None = None
        self._failed: Exception | None = None

    def write(self, sends: Iterable[Send] = (), answers: Iterable[tuple[bytes, Any, int]] = ()) -> asyncio.Future[None]:
        """Done once all of it is on disk. Not awaited, it goes on by itself; `settled` waits for the rest.

        Raises (where it is awaited):
            RunError: the disk refused.
        """
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
        loop = asyncio.get_running_loop()
        try:
            while self._next is not None:
                done, sends, answers = self._next, self._sends, self._answers
                self._next, self._sends, self._answers = None, [], []
                try:
                    await loop.run_in_executor(self._disk, self._kept.write, sends, answers)
                except Exception as error:
                    self._failed = error
                    done.set_exception(error)
                    done.exception()  # whoever waits has it; where nobody does, `settled` raises it
                else:
                    done.set_result(None)
        finally:
            self._busy = None
