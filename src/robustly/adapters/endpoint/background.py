"""An event loop in a thread of its own, so that questions can be put from anywhere, a notebook's loop included."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import TimeoutError as NotYet
from typing import Any, TypeVar

T = TypeVar("T")
LOOK = 0.2
"""Seconds between looks at whoever watches, while work is under way."""
PATIENCE = 30.0
"""Seconds that cancelled work has to leave in order."""


class Background:
    """Runs coroutines, one call at a time, until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="robustly endpoint", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], watch: Callable[[], None] | None = None) -> T:
        """The result of a coroutine. watch: called now and then meanwhile; what it raises, or a signal, cancels the work,
        which is given the time to leave in order."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            while True:
                try:
                    return future.result(LOOK)
                except NotYet:
                    if future.done():
                        raise
                    if watch:
                        watch()
        except BaseException:
            if not future.done():
                future.cancel()
                asyncio.run_coroutine_threadsafe(_all_done(), self._loop).result(PATIENCE)
            raise

    def close(self) -> None:
        """End the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)

    def _live(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()


async def _all_done() -> None:
    """Wait for every other task of the loop."""
    own = asyncio.current_task()
    while others := [task for task in asyncio.all_tasks() if task is not own]:
        await asyncio.wait(others)
