"""A server that runs: in this thread until a signal comes, or in another one while a block runs."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from robustly.core.errors import RunError, UsageError
from robustly.serving.settings import Serving

if TYPE_CHECKING:
    from uvicorn import Server

    from robustly.serving.broken import Lines

HOST, PORT = "127.0.0.1", 8000
PATIENCE = 2
"""Seconds that open requests have when the server stops."""


def serve(
    serving: Serving, *, host: str = HOST, port: int = PORT, public: bool = False, say: Callable[[str], None] = print
) -> None:
    """Answer requests until SIGINT or SIGTERM, which end it after the open requests had their time.

    port: 0 takes a free one. public: hosts other than this machine's own may be listened on. say: is told the address
    when the first request can come.

    Raises:
        UsageError: the packages are missing, the host is not loopback without public, the port is taken.
    """
    refuse_without_packages()
    with closing(listening(host, port, public)) as line:
        serve_on(line, serving, lambda: say(address(line)))


def serve_on(line: socket.socket, serving: Serving, ready: Callable[[], None]) -> None:
    """The same on a socket that listens already; ready is called when requests are answered."""
    _server(serving, ready).run(sockets=[line])


@contextmanager
def served(serving: Serving, *, host: str = HOST, port: int = 0) -> Iterator[str]:
    """The same in another thread while the block runs; yields the address, http://127.0.0.1:PORT.

    Raises:
        UsageError: as `serve`. RunError: it doesn't start.
    """
    refuse_without_packages()
    ready = threading.Event()
    with closing(listening(host, port, public=False)) as line:
        server = _server(serving, ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [line]}, name="server", daemon=True)
        thread.start()
        try:
            if not ready.wait(30):
                raise RunError("the server did not start within 30 seconds.")
            yield address(line)
        finally:
            server.should_exit = True
            thread.join(PATIENCE + 10)


def refuse_without_packages() -> None:
    """Refuse where the packages of the extra are not installed.

    Raises:
        UsageError: says what to install.
    """
    try:
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"serving needs starlette, uvicorn and python-multipart ({error.name} is missing): "
            "pip install robustly[serve]"
        ) from error


def listening(host: str, port: int, public: bool) -> socket.socket:
    """A socket that listens, on this machine's own addresses unless public.

    Raises:
        UsageError: another host, an unknown one, a port out of range or taken.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"a port is a number from 0 to 65535, got {port}.")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UsageError(f'the host "{host}" is not known ({error}). Say --host {HOST}.') from None
    family, _, _, _, where = found[0]
    if not public and not ipaddress.ip_address(str(where[0]).partition("%")[0]).is_loopback:
        raise UsageError(
            f'"{host or where[0]}" can be reached from other machines, by whoever finds it. '
            f"Say --public if that is meant, or --host {HOST}."
        )
    line = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle's delays on
    try:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        line.bind(where)
        line.listen(1024)
    except OSError as error:
        line.close()
        raise UsageError(
            f"cannot listen on {host}:{port} ({error.strerror}). Choose another --port; 0 takes a free one."
        ) from None
    return line


def address(line: socket.socket) -> str:
    """http://HOST:PORT of a listening socket."""
    host, port = line.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _server(serving: Serving, ready: Callable[[], None]) -> Server:
    import uvicorn

    from robustly.serving.app import Served
    from robustly.serving.broken import Lines

    lines = Lines()
    at_work = Served(serving, lines)
    config = uvicorn.Config(
        at_work.app(),
        http=_protocol(lines),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=PATIENCE,
    )

    class Told(uvicorn.Server):
        """A server that says when it is ready, and ends the model's thread with itself."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await super().shutdown(sockets)
            at_work.thread.shutdown(wait=False, cancel_futures=True)

    return Told(config)


def _protocol(lines: Lines) -> type[Any]:
    """Uvicorn's protocol, which also keeps the book of open connections."""
    import asyncio

    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Kept(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if self.client is not None:
                lines.open[self.client] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            if self.client is not None:
                lines.open.pop(self.client, None)
            super().connection_lost(exc)

    return Kept
