"""How fast requests may leave: so many a second, and none while the server asked for silence."""

from __future__ import annotations

import asyncio
import time

from robustly.adapters.endpoint.settings import Limits


class Pace:
    """Departures are spaced evenly: no burst, so that no second sees more than the rate, give or take one."""

    def __init__(self, limits: Limits) -> None:
        self._requests = 0.0 if limits.rate is None else 1.0 / limits.rate
        self._examples = 0.0 if limits.examples_per_second is None else 1.0 / limits.examples_per_second
        self._free = 0.0
        self._silent = 0.0

    def rest(self, seconds: float) -> None:
        """Let nobody depart for so long."""
        self._silent = max(self._silent, time.monotonic() + seconds)

    async def depart(self, inputs: int) -> None:
        """Wait for the turn of a request with so many inputs."""
        while True:
            now = time.monotonic()
            if now < self._silent:
                await asyncio.sleep(self._silent - now)
                continue
            own = max(self._free, now)
            self._free = own + max(self._requests, inputs * self._examples)
            if own > now:
                await asyncio.sleep(own - now)
            return
