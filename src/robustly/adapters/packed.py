"""Files that may be packed with gzip, read whole and within a limit."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from robustly.core.errors import UsageError

LIMIT = 1 << 31
"""Bytes that a file may have when it is unpacked: a small file can claim to be endless."""


def read_packed(path: Path, what: str, limit: int = LIMIT) -> bytes:
    """The content, unpacked where it begins as gzip does.

    Raises:
        UsageError: there is no such file, it is damaged, or larger than the limit.
    """
    if not path.is_file():
        raise UsageError(f"no {what} file {path}.")
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:
            content = file.read(limit + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UsageError(f"{path} is damaged: {error}.") from error
    if len(content) > limit:
        raise UsageError(f"{path} has more than {limit >> 20} MiB when it is unpacked. Refused.")
    return content
