"""A verdict from a process of its own, so that neither its time nor its memory can run away with the rest.

Bounds of a large network are asked for whole, and look at no clock inside; what does not stop by itself soon after its
time is stopped here, and what asks for more memory than the machine has left is told so instead of being killed.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from robustly.verifying.answers import Answer

SHARE = 0.9
"""Of the memory that is free, what one verdict may take."""


def apart(answer: Callable[[], Answer], timeout: float) -> Answer:
    """What `answer` gives, or unknown where it has not after its timeout, in seconds, and a little more.

    The process is a fork: call it before torch has run anything on several threads. Where there is no fork, nothing is
    set apart.

    Raises:
        Exception: what `answer` raises.
    """
    if not hasattr(os, "fork"):
        return answer()
    most = timeout * 1.02 + 2
    begin = time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run(answer, writing, most)
    os.close(writing)
    try:
        content, late = _received(reading, begin + most)
    finally:
        os.close(reading)
        _ended(child)
    if not content:
        why = "out of time: a step took longer than was left" if late else "its process ended without a word (memory?)"
        return Answer("unknown", why=why, seconds=time.monotonic() - begin)
    kind, value = pickle.loads(content)
    if kind == "memory":
        return Answer("unknown", why=f"out of memory: {value}", seconds=time.monotonic() - begin)
    if kind == "raised":
        raise value
    return value


def lacks_memory(error: BaseException) -> bool:
    """Is it the want of memory, as Python, torch or onnxruntime say it?"""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(
        w in said for w in ("not enough memory", "can't allocate", "bad_alloc")
    )


def free_memory() -> int | None:
    """Bytes that may still be taken here, by the machine's account and by its container's; None where neither is told."""
    found = []
    try:
        facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line)
        found.append(int(facts["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        pass
    for limit, taken in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            root = Path("/sys/fs/cgroup")
            found.append(int((root / limit).read_text()) - int((root / taken).read_text()))
        except (OSError, ValueError):
            continue
    return min(found) if found else None


def _run(answer: Callable[[], Answer], writing: int, most: float) -> NoReturn:
    """What the child does; it ends by itself even where nobody waits for it any more."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, most + 1)
        _limit()
        content = _told(answer)
        while content:
            content = content[os.write(writing, content) :]
    finally:
        os._exit(0)


def _told(answer: Callable[[], Answer]) -> bytes:
    try:
        return pickle.dumps(("answer", answer()))
    except Exception as error:
        if lacks_memory(error):
            return pickle.dumps(("memory", (str(error) or "no more is left").splitlines()[0][:200]))
        try:
            content = pickle.dumps(("raised", error))
            pickle.loads(content)
            return content
        except Exception:
            return pickle.dumps(("raised", RuntimeError(f"{type(error).__name__}: {error}")))


def _limit() -> None:
    import resource

    free = free_memory()
    if free is None or not hasattr(resource, "RLIMIT_DATA"):
        return
    try:
        facts = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
        now = int(facts["VmData"].split()[0]) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (now + int(SHARE * free), resource.RLIM_INFINITY))
    except (OSError, KeyError, ValueError):
        return


def _received(reading: int, end: float) -> tuple[bytes, bool]:
    """All that the child writes before `end`; whether that came first."""
    parts = []
    while (left := end - time.monotonic()) > 0:
        if not select.select([reading], [], [], left)[0]:
            break
        part = os.read(reading, 2**20)
        if not part:
            return b"".join(parts), False
        parts.append(part)
    return b"", True


def _ended(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
