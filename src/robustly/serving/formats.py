"""Inputs off the wire: nested lists, base64 PNG or npy, texts, or uploaded PNG and npy files; checked, or refused.

Nothing that arrives is executed or trusted: sizes are read from headers before anything is unpacked, and arrays of objects
(pickles) are refused by their header.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
import struct
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from robustly.adapters.pictures import UnreadableError, read_picture
from robustly.core.rows import Batch
from robustly.serving.refusals import Refused
from robustly.serving.settings import Serving
from robustly.threats.base import Domain

PNG, NPY = b"\x89PNG\r\n\x1a\n", b"\x93NUMPY"
LIKE = '{"inputs": [...]}'
ENCODINGS = "nested lists of numbers, base64 PNG or base64 npy"
PIXELS, TOGETHER = 2**24, 2**26  # in one PNG, and in all of a request, where no shape is known


def read_json(body: bytes, serving: Serving) -> Batch:
    """The inputs of {"inputs": [...]}: float32 (B, ...) or a tuple of texts.

    Raises:
        Refused: 400 for what can't be read, 413 for too many inputs, 422 for a wrong shape, type or value.
    """
    try:
        found = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # bad UTF-8 and numbers of thousands of digits are ValueErrors too
        raise Refused(400, f"the body is no JSON ({_short(error)}). Send {LIKE}.") from None
    if not isinstance(found, dict) or "inputs" not in found:
        keys = (
            f"an object with {', '.join(map(str, found))[:80] or 'no keys'}" if isinstance(found, dict) else "no object"
        )
        raise Refused(400, f'the body is {keys}; the key "inputs" is missing. Send {LIKE}.')
    inputs = found["inputs"]
    if not isinstance(inputs, list):
        raise Refused(
            400, f'"inputs" is {_kind(inputs)}; a list with one element an input is wanted, also of one input.'
        )
    refuse_count(len(inputs), serving.examples)
    return _texts(inputs) if serving.text else _arrays(inputs, serving)


def read_files(files: Sequence[tuple[str, bytes]], serving: Serving) -> Batch:
    """The inputs of uploaded files (name, content), one input a file: float32 (B, ...) or texts, which are UTF-8.

    Raises:
        Refused: as `read_json`.
    """
    refuse_count(len(files), serving.examples)
    if serving.text:
        return tuple(_decoded(name, content) for name, content in files)
    return _stacked([_of_bytes(content, f'file "{name}"', serving, len(files)) for name, content in files], serving)


def refuse_count(count: int, most: int) -> None:
    """Refuse no inputs at all, or more than may come at once."""
    if count == 0:
        raise Refused(400, "there are 0 inputs. Send at least one.")
    if count > most:
        raise Refused(413, f"{count} inputs came in one request, at most {most} are taken. Send them in parts.")


def _texts(inputs: list[Any]) -> tuple[str, ...]:
    for i, text in enumerate(inputs):
        if not isinstance(text, str):
            raise Refused(422, f"input {i} is {_kind(text)}; the model reads texts.")
    return tuple(inputs)


def _decoded(name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Refused(422, f'file "{name}" is no UTF-8 text; the model reads texts.') from None


def _arrays(inputs: list[Any], serving: Serving) -> Tensor:
    if all(isinstance(value, list) for value in inputs):
        try:  # all at once where all is well; else one by one, to say which is wrong
            return _checked(_tensor(_numbers(inputs, "the inputs")), serving)
        except Refused:
            pass
    return _stacked([_one(value, f"input {i}", serving, len(inputs)) for i, value in enumerate(inputs)], serving)


def _one(value: Any, what: str, serving: Serving, among: int) -> Tensor:
    if isinstance(value, str):
        return _of_bytes(_unpacked(value, what), what, serving, among)
    if isinstance(value, list):
        return _tensor(_numbers(value, what))
    raise Refused(422, f"{what} is {_kind(value)}; {ENCODINGS} are taken.")


def _numbers(value: list[Any], what: str) -> np.ndarray:
    try:
        array = np.array(value)
    except ValueError:
        raise Refused(422, f"{what}: the lists have different lengths, so they make no array.") from None
    if array.dtype.kind not in "iuf":
        raise Refused(422, f"{what} holds something that is no number (it reads as {array.dtype}).")
    return array


def _unpacked(text: str, what: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(422, f"{what} is a text that is no base64; {ENCODINGS} are taken.") from None


def _of_bytes(content: bytes, what: str, serving: Serving, among: int) -> Tensor:
    if content.startswith(PNG):
        return _picture(content, what, serving, min(PIXELS, TOGETHER // among))
    if content.startswith(NPY):
        return _tensor(_npy(content, what, serving))
    raise Refused(422, f"{what} is neither a PNG nor an npy file (it begins with {content[:8]!r}).")


def _npy(content: bytes, what: str, serving: Serving) -> np.ndarray:
    """The array of a file whose header promises numbers, no more of them than there are bytes, in the right shape."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read:
            raise Refused(
                422, f"{what}: npy version {version[0]}.{version[1]} is not taken; save numbers as 1.0 or 2.0."
            )
        shape, _, dtype = read[version](file)
    except Refused:
        raise
    except Exception as error:
        raise Refused(422, f"{what}: its npy header can't be read ({_short(error)}).") from None
    if dtype.kind not in "iuf":
        raise Refused(422, f"{what}: its npy holds {_short(dtype)}, no plain numbers. Save float32.")
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise Refused(422, f"{what}: its npy header promises {shape} of {dtype}, which is not what follows it.")
    _refuse_shape(tuple(shape), what, serving)
    if min(shape, default=0) < 0:  # two of them make a product that fits
        raise Refused(422, f"{what}: its npy header has the shape {shape}, which no array has.")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _picture(content: bytes, what: str, serving: Serving, most: int) -> Tensor:
    """A PNG of at most so many pixels, where no shape is known, as (C, H, W): its lowest value at the lower end of the model's range, its highest at the upper end."""
    domain = serving.model.domain
    if not math.isfinite(domain.high - domain.low):
        raise Refused(422, f"{what} is a PNG, but the model has no known range to put its values in. Send numbers.")
    if len(content) < 33:
        raise Refused(422, f"{what} is a PNG that ends in its header.")
    width, height = struct.unpack(">II", content[16:24])
    if serving.shape is not None:
        known = serving.shape
        if len(known) != 3 or known[0] not in (1, 3):
            raise Refused(422, f"{what} is a PNG, but inputs of the model have the shape {known}. Send numbers.")
        if (height, width) != known[1:]:
            raise Refused(422, f"{what} is {width} x {height} pixels, the model takes {known[2]} x {known[1]}.")
    elif width * height > most:  # before it is unpacked: a few kilobytes of PNG hold gigabytes of one colour
        raise Refused(413, f"{what} has {width} x {height} pixels, more than the {most} of each in such a request.")
    try:
        pixels = read_picture(content)
    except UnreadableError as error:
        raise Refused(422, f"{what} {error}.") from None
    return scaled(pixels, domain)


def scaled(pixels: np.ndarray, domain: Domain) -> Tensor:
    """Pixels (H, W) or (H, W, 3), 8 or 16 bit, as float32 (C, H, W): low + (high - low) * value / largest, in float64."""
    scale = float(np.iinfo(pixels.dtype).max) / (domain.high - domain.low)
    x = torch.from_numpy(pixels.astype(np.float64) / scale + domain.low).float()
    return x[None] if x.dim() == 2 else x.permute(2, 0, 1).contiguous()


def _tensor(array: np.ndarray) -> Tensor:
    with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite, and is refused as that
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _stacked(rows: list[Tensor], serving: Serving) -> Tensor:
    for i, row in enumerate(rows):
        _refuse_shape(tuple(row.shape), f"input {i}", serving)
        if row.shape != rows[0].shape:
            raise Refused(422, f"input {i} has the shape {tuple(row.shape)}, input 0 {tuple(rows[0].shape)}.")
    return _checked(torch.stack(rows), serving)


def _checked(x: Tensor, serving: Serving) -> Tensor:
    """The inputs, if each has the shape and the range that the model takes."""
    _refuse_shape(tuple(x.shape[1:]), "input 0", serving)
    domain = serving.model.domain
    odd = ~torch.isfinite(x)
    if odd.any():
        at = odd.nonzero()[0].tolist()
        raise Refused(422, f"input {at[0]} has a value at {at[1:]} that is NaN, or beyond float32.")
    outside = (x < domain.low) | (x > domain.high)
    if outside.any():
        at = outside.nonzero()[0].tolist()
        value = x[tuple(at)].item()
        raise Refused(422, f"input {at[0]} has {value:g} at {at[1:]}, outside the range {domain} of the model.")
    return x


def _refuse_shape(shape: tuple[int, ...], what: str, serving: Serving) -> None:
    if serving.shape is not None and shape != serving.shape:
        raise Refused(422, f"{what} has the shape {shape}, the model takes {serving.shape}.")
    if 0 in shape:
        raise Refused(422, f"{what} has the shape {shape}: it is empty.")


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _short(what: Any) -> str:
    return " ".join(str(what).split())[:120] or type(what).__name__


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
