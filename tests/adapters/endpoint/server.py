"""A small server to attack: real sockets, every request counted, faults on demand."""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

SIZE, CLASSES = 16, 4


class Reply:
    """What to send instead of an answer. hang: seconds before it. cut: close the connection after so many bytes.
    trickle: seconds between bytes. reset: break the connection off instead."""

    def __init__(
        self,
        status: int = 200,
        body: bytes | dict[str, Any] = b"",
        headers: dict[str, str] | None = None,
        hang: float = 0.0,
        cut: int | None = None,
        trickle: float = 0.0,
        reset: bool = False,
    ) -> None:
        self.status, self.headers, self.hang, self.cut = status, headers or {}, hang, cut
        self.trickle, self.reset = trickle, reset
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


def weights(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(SIZE, CLASSES)).astype(np.float32)


def linear(x: np.ndarray, seed: int = 0) -> np.ndarray:
    return (x.reshape(len(x), -1).astype(np.float64) - 0.5) @ weights(seed).astype(np.float64)


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True


class Target:
    """A linear model behind HTTP. fault: given the number of the request (from 1) and its inputs, what to send instead."""

    def __init__(
        self,
        fault: Callable[[int, np.ndarray], Reply | None] | None = None,
        model: Callable[[np.ndarray], np.ndarray] = linear,
        answer: Callable[[np.ndarray], Any] | None = None,
        delay: float = 0.0,
    ) -> None:
        self.fault, self.model, self.delay = fault or (lambda n, x: None), model, delay
        self.answer = answer or (lambda s: {"scores": s.tolist(), "labels": s.argmax(1).tolist()})
        self.requests, self.inputs = 0, 0
        self.answered: Counter[bytes] = Counter()
        self.seen: list[dict[str, str]] = []
        self.times: list[float] = []
        self.paths: list[str] = []
        self.raw: list[bytes] = []
        self.lock = threading.Lock()
        self.server = _Server(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/predict"

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def respond(self, body: bytes, kind: str, headers: dict[str, str], path: str) -> Reply:
        inputs = decoded(body, kind)
        with self.lock:
            self.requests += 1
            number = self.requests
            self.inputs += len(inputs)
            self.seen.append(headers)
            self.paths.append(path)
            self.times.append(time.monotonic())
            self.raw.append(body)
        reply = self.fault(number, inputs)
        if reply is not None:
            return reply
        if self.delay:
            time.sleep(self.delay)
        with self.lock:
            self.answered.update(np.ascontiguousarray(x).tobytes() for x in inputs)
        return Reply(200, self.answer(self.model(inputs)))


def decoded(body: bytes, kind: str) -> np.ndarray:
    """The inputs of a request, as a server reads them."""
    if kind.startswith("multipart/form-data"):
        from email import message_from_bytes

        message = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
        return np.stack([_read(message.get_payload()[0].get_payload(decode=True))])  # type: ignore[union-attr,index]
    said = json.loads(body)
    given = said["inputs"] if "inputs" in said else [said["input"]]
    if given and isinstance(given[0], str):
        return np.stack([_read(base64.b64decode(one)) for one in given])
    return np.asarray(given, dtype=np.float32)


def _read(content: bytes) -> np.ndarray:
    if content.startswith(b"\x93NUMPY"):
        return np.load(io.BytesIO(content), allow_pickle=False)
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)), dtype=np.float32) / np.float32(255)


def _handler(target: Target) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {k.lower(): v for k, v in self.headers.items()}
            reply = target.respond(body, self.headers["content-type"], headers, self.path)
            time.sleep(reply.hang)
            head = f"HTTP/1.1 {reply.status} X\r\n"
            fields = {"content-type": "application/json", "content-length": str(len(reply.body)), **reply.headers}
            head += "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n"
            whole = head.encode() + reply.body
            if reply.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return
            try:
                if reply.trickle:
                    for place in range(len(whole)):
                        self.wfile.write(whole[place : place + 1])
                        time.sleep(reply.trickle)
                else:
                    self.wfile.write(whole if reply.cut is None else whole[: reply.cut])
                self.wfile.flush()
            except OSError:
                self.close_connection = True
            if reply.cut is not None:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
