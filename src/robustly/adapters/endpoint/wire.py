"""From inputs to the exact bytes of a request, and what the other side will read in them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic_core import to_json
from torch import Tensor

from robustly.adapters.endpoint.settings import Request, Settings
from robustly.core.errors import UsageError
from robustly.core.rows import Batch, column
from robustly.threats.base import Domain, PerturbationSet

LEVELS = 255
SLACK = 1e-4
"""Of a level: float32 values that stand on one are a little off."""


@dataclass(frozen=True)
class Wire:
    """settings: of the endpoint, whose request it makes. domain: the range of inputs, which an 8-bit image spreads over."""

    settings: Settings
    domain: Domain

    @property
    def request(self) -> Request:
        """How a question is put."""
        return self.settings.request

    @property
    def told(self) -> str:
        """What the wire carries, in words."""
        form = {"list": "numbers", "png": "8-bit PNG", "npy": "float32 npy", "text": "text"}[self.request.input]
        digits = f" with {self.request.decimals} decimals" if self.request.decimals is not None else ""
        return f"{form}{digits} in {'JSON' if self.request.kind == 'json' else 'a multipart form'}"

    def envelope(self) -> bytes:
        """All of a request but its inputs: the method, the address, headers and body, the secret's place left open."""
        parts = self.settings.model_dump(include={"url", "method", "headers", "request"}, mode="json")
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()

    def fragments(self, z: Batch) -> list[bytes]:
        """Each input as it stands in the body: a JSON value, or the bytes of a form field.

        Raises:
            UsageError: inputs of a kind or shape that cannot be written so.
        """
        if isinstance(z, Tensor) == (self.request.input == "text"):
            got = "numbers" if isinstance(z, Tensor) else "texts"
            raise UsageError(f'the endpoint takes input = "{self.request.input}", but the data are {got}.')
        if not isinstance(z, Tensor):
            return [self._field(text.encode("utf-8", "surrogatepass")) for text in z]
        rows = self._shaped(z.detach().to("cpu", torch.float32))
        if self.request.input == "list":
            numbers = rows.double().numpy()
            numbers = numbers if self.request.decimals is None else numbers.round(self.request.decimals)
            return [to_json(row) for row in (numbers + 0.0).tolist()]
        made = _npy if self.request.input == "npy" else self._png
        return [self._field(made(row.numpy())) for row in rows]

    def body(self, fragments: Sequence[bytes]) -> tuple[bytes, str]:
        """The body of one request for these inputs, and its content type."""
        if self.request.kind == "multipart":
            return self._form(fragments[0])
        if self.request.one_by_one:
            return self.request.body.encode().replace(b"{input}", fragments[0]), "application/json"
        return self.request.body.encode().replace(b"{inputs}", b"[" + b",".join(fragments) + b"]"), "application/json"

    def carried(self, z: Batch, around: PerturbationSet | None = None) -> Batch:
        """The inputs as they are read from the bytes, in the range of the domain.

        Each number goes to the nearest the wire carries or, where that leaves the set, towards the clean input; so a
        change that dies in the encoding is none, and one that is rounded is judged as rounded.
        """
        if not isinstance(z, Tensor) or (self.request.input != "png" and self.request.decimals is None):
            return z
        near = self._value(self._level(z).round())
        if around is None:
            return near
        outside = ~around.contains(near)
        if not outside.any():
            return near
        return torch.where(column(outside, z), self._toward(z, around.x), near)

    def _toward(self, z: Tensor, x: Tensor) -> Tensor:
        own, level = self._level(x), self._level(z)
        slack = SLACK + level.abs() * 2e-7
        up = torch.maximum((level + slack).floor(), own.round())
        down = torch.minimum((level - slack).ceil(), own.round())
        return self._value(torch.where(level > own, up, down))

    @property
    def _scale(self) -> tuple[float, float]:
        """Levels are (z - low) * scale."""
        if self.request.decimals is not None:
            return 0.0, 10.0**self.request.decimals
        low, high = self.domain.low, self.domain.high
        if not math.isfinite(high - low):
            raise UsageError(
                "an 8-bit image spreads over the range of the inputs, which is not known: write range = [0, 1] (or "
                "[0, 255]) into the endpoint's settings."
            )
        return low, LEVELS / (high - low)

    def _level(self, z: Tensor) -> Tensor:
        low, scale = self._scale
        level = (z.double() - low) * scale
        return level if self.request.decimals is not None else level.clamp(0, LEVELS)

    def _value(self, level: Tensor) -> Tensor:
        low, scale = self._scale
        return (level / scale + low).to(torch.float32)

    def _shaped(self, z: Tensor) -> Tensor:
        if self.request.shape is None:
            return z
        if math.prod(self.request.shape) != z[0].numel():
            raise UsageError(
                f"request.shape of the endpoint is {list(self.request.shape)}, {math.prod(self.request.shape)} numbers, but an "
                f"input has {z[0].numel()}, shaped {list(z.shape[1:])}."
            )
        return z.reshape(len(z), *self.request.shape)

    def _png(self, row: np.ndarray) -> bytes:
        from PIL import Image

        level = self._level(torch.from_numpy(row)).round().to(torch.uint8).numpy()
        if level.ndim == 3 and level.shape[0] in (1, 3, 4):
            level = level[0] if level.shape[0] == 1 else level.transpose(1, 2, 0)
        elif level.ndim != 2:
            raise UsageError(
                f"an input shaped {list(row.shape)} is no image: a PNG takes (height, width) or (1, 3 or 4 channels, height, "
                "width). Write the shape of one as request.shape in the endpoint's settings."
            )
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(level)).save(file, "PNG")
        return file.getvalue()

    def _field(self, content: bytes) -> bytes:
        """Bytes as they stand in the body."""
        if self.request.kind == "multipart":
            return content
        if self.request.input == "text":
            return json.dumps(content.decode("utf-8", "surrogatepass")).encode()
        return b'"' + base64.b64encode(content) + b'"'

    def _form(self, content: bytes) -> tuple[bytes, str]:
        """A multipart form (RFC 7578) whose boundary comes from its content, so that equal inputs make equal bytes."""
        boundary = hashlib.sha256(content).hexdigest()[:32].encode()
        kind = {"png": b"image/png", "npy": b"application/octet-stream", "text": b"text/plain; charset=utf-8"}
        name = f"input.{self.request.input}".encode()
        head = b'Content-Disposition: form-data; name="' + _quoted(self.request.field) + b'"; filename="' + name + b'"'
        parts = [head + b"\r\nContent-Type: " + kind[self.request.input] + b"\r\n\r\n" + content]
        for key, value in self.request.fields.items():
            parts.append(b'Content-Disposition: form-data; name="' + _quoted(key) + b'"\r\n\r\n' + value.encode())
        joined = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
        return joined + b"--" + boundary + b"--\r\n", f"multipart/form-data; boundary={boundary.decode()}"


def key_of(envelope: bytes, fragment: bytes, draw: str = "") -> bytes:
    """What an answer is kept under: the hash of the bytes sent for an input and of the envelope around them.

    draw: which of several questions with equal bytes it is, for a model that answers each anew.
    """
    return hashlib.sha256(b"\0".join((envelope, draw.encode(), fragment))).digest()


def _npy(row: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, row, allow_pickle=False)
    return file.getvalue()


def _quoted(name: str) -> bytes:
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A").encode()
