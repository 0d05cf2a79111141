"""SQLite files that lose nothing that was committed (WAL, synchronous FULL), each written by one process at a time."""

from __future__ import annotations

import fcntl
import os
import socket
import sqlite3
from pathlib import Path

from robustly.core.errors import RunError, UsageError


def open_database(path: Path | None, tables: str, layout: int, rescue: str) -> sqlite3.Connection:
    """Open a file, or memory for None, check it, and make its tables where they are missing.

    tables: SQL. layout: the number of their layout, which the file carries. rescue: what to do with a damaged file, as
    sentences.

    Raises:
        UsageError: the file has a newer layout.
        RunError: it can't be opened, or is damaged.
    """
    try:
        db = sqlite3.connect(str(path or ":memory:"), isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        if path and db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("its integrity check failed")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > layout:
            raise UsageError(
                f"{path} was written by a newer robustly (layout {version}, this one knows {layout}): update."
            )
        db.executescript(tables)
        db.execute(f"PRAGMA user_version={layout}")
    except sqlite3.OperationalError as error:
        raise RunError(f"cannot open {path}: {error}. Check the disk and the permissions, then run again.") from error
    except sqlite3.DatabaseError as error:
        raise RunError(f"{path} is damaged ({error}). Nothing was changed{rescue}") from error
    return db


def lock(path: Path, what: str, instead: str) -> int:
    """Hold a lock file, made with its folder if need be, until the returned descriptor is closed or the process ends.

    what, instead: for messages: the place that is locked, and what to do where it can't be had, as a part of a sentence.

    Raises:
        UsageError: the place cannot be written, or another process holds it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UsageError(f"cannot write in {what}: {error.strerror or error}. To write elsewhere, {instead}.") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(handle, 200).decode(errors="replace").strip()
        os.close(handle)
        raise UsageError(
            f"another process is running in {what} ({holder or 'unknown'}). Wait for it, or {instead}."
        ) from None
    os.ftruncate(handle, 0)
    os.write(handle, f"pid {os.getpid()} on {socket.gethostname()}".encode())
    return handle
