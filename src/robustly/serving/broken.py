"""Answers that go wrong on the wire: dropped, cut in their middle, or no JSON."""

from __future__ import annotations

from asyncio import Transport

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class Lines:
    """The open connections of a server by the client's address, so that an answer can break its own."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, int], Transport] = {}

    def alive(self, scope: Scope) -> bool:
        """Is the client of a request still there? One that gave up hears no answer."""
        line = self.open.get(tuple(scope["client"]))  # type: ignore[arg-type]
        return line is not None and not line.is_closing()

    async def cut(self, scope: Scope, receive: Receive, at_once: bool) -> None:
        """Close the connection of a request, with a reset or after what was already sent, and wait until it is gone."""
        line = self.open.get(tuple(scope["client"]))  # type: ignore[arg-type]
        if line is None:
            return
        line.abort() if at_once else line.close()
        while (await receive())["type"] != "http.disconnect":
            pass


class Dropped(Response):
    """Not a byte, and the connection is reset."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self.lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reset the connection."""
        await self.lines.cut(scope, receive, at_once=True)


class Half(Response):
    """The first half of a body whose whole length was announced, and the connection is closed."""

    media_type = "application/json"

    def __init__(self, body: bytes, lines: Lines) -> None:
        super().__init__(body)
        self.lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the headers and half of the body, then close."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await self.lines.cut(scope, receive, at_once=False)


def garbled(body: bytes) -> bytes:
    """A body that is whole on the wire and no JSON: its second half is missing."""
    return body[: len(body) // 2]
