"""Our client of an endpoint against a bare asynchronous one, and what becomes of queries when one in five requests fails.

Both put the same inputs, one a request, to `robustly serve` in a process of its own, which answers at once or after 20 ms.
The bare client is the least that does the job: a pool of connections, so many requests in flight, encode, post, parse. Ours
books every query before it is sent and keeps every answer on disk before it is used. A figure is the median over the rounds
of (ours / bare client of the same round), in alternating order, after one round that warms up.

For the faults the server itself says what was lost (an input that never got an answer), what was doubled (one that was
answered twice) and how many inputs came, which must be what the client's own bill says.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import torch
from torch import Tensor

from bench.bars import Bar, Outcome
from robustly.zoo.load import images, network

MODEL = "zoo:fashion_plain"
AT_ONCE = (1, 16, 64)
LATENCIES = (0.0, 0.02)
ROUNDS = 5
FAULTS = {"fail": 0.08, "429": 0.04, "drop": 0.03, "half": 0.02, "malformed": 0.02, "slow": 0.01}
"""A fifth of the requests."""


def run(limit: int = 256) -> Outcome:
    """The benchmark with so many requests a measurement, and four times as many under faults."""
    torch.set_num_threads(1)
    x = varied(images("fashion")[0], limit)
    rows: list[tuple[Any, ...]] = []
    for latency in LATENCIES:
        with server("--latency", str(latency)) as url:
            rows += [(f"{latency * 1000:g} ms", count, *compared(url, x, count)) for count in AT_ONCE]
    many = varied(images("fashion")[0], 4 * limit)
    lost, doubled, miscounted, wrong, met = under_faults(many, network("fashion_plain")(many))
    return Outcome(
        "endpoint",
        f"{MODEL} served on this machine, {limit} requests of one input each; {4 * limit} under faults",
        ("server answers after", "at once", "bare, requests/s", "ours, requests/s", "ours / bare, seconds"),
        tuple(rows),
        (
            *(Bar(f"{row[0]}, {row[1]} at once: seconds over the bare client", 1.2, row[4]) for row in rows),
            Bar("inputs lost under faults", 0, lost),
            Bar("inputs doubled under faults", 0, doubled),
            Bar("inputs the server saw, less those on the bill (absolute)", 0, miscounted),
            Bar("answers under faults that differ from the model's", 0, wrong),
            Bar("share of the requests that met a fault", 0.15, met, at_most=False),
        ),
    )


def varied(x: Tensor, count: int) -> Tensor:
    """So many different images, in 8-bit levels: the carried ones, and again with one pixel changed."""
    again = x.repeat(-(-count // len(x)), 1, 1, 1)[:count]
    for i in range(len(x), count):
        again[i, 0, 0, i // len(x)] = 1 - again[i, 0, 0, i // len(x)]
    return again


def compared(url: str, x: Tensor, count: int) -> tuple[float, float, float]:
    """Requests a second of the bare client and of ours, and the median ratio of seconds, with `count` in flight."""
    pairs = []
    for turn in range(ROUNDS + 1):
        ways = [lambda: bare(url, x, count), lambda: ours(url, x, count)]
        order = (0, 1) if turn % 2 == 0 else (1, 0)
        seconds = {i: ways[i]() for i in order}
        pairs.append((seconds[0], seconds[1]))
    pairs = pairs[1:]
    fast, our = (len(x) / statistics.median(p[i] for p in pairs) for i in (0, 1))
    return fast, our, statistics.median(b / a for a, b in pairs)


def bare(url: str, x: Tensor, count: int) -> float:
    """Seconds that the bare client takes."""

    async def main() -> float:
        limits = httpx2.Limits(max_connections=count, max_keepalive_connections=count)
        async with httpx2.AsyncClient(limits=limits, trust_env=False, timeout=60) as client:
            await client.get(f"{url}/health")
            left = iter(range(len(x)))

            async def work() -> None:
                for i in left:
                    body = json.dumps({"inputs": [x[i].tolist()]}).encode()
                    answer = await client.post(
                        f"{url}/predict", content=body, headers={"content-type": "application/json"}
                    )
                    torch.tensor(answer.json()["scores"])

            begun = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(count)))
            return time.perf_counter() - begun

    return asyncio.run(main())


def ours(url: str, x: Tensor, count: int) -> float:
    """Seconds that our client takes, every answer kept in a file."""
    with tempfile.TemporaryDirectory() as folder:
        asking = client(url, Path(folder) / "kept.sqlite", count)
        asking.ask(x[:1] * 0.5, torch.tensor([0]))  # the connection, and the first contact
        begun = time.perf_counter()
        replies = asking.ask(x, torch.arange(len(x)))
        seconds = time.perf_counter() - begun
        asking.close()
        assert bool(replies.answered.all())
        return seconds


def client(url: str, keep: Path, count: int, **limits: Any) -> Any:
    """Our client of the server, asking with nested lists as the bare one does."""
    from robustly.adapters.endpoint import endpoint
    from robustly.adapters.endpoint.settings import Settings

    table = {"concurrency": count, "timeout": 60.0, "failures": 10_000, **limits}
    settings = Settings.model_validate({"url": f"{url}/predict", "range": [0, 1], "limits": table, "classes": 10})
    return endpoint(settings, keep=keep).remote  # type: ignore[attr-defined]


def under_faults(x: Tensor, wanted: Tensor) -> tuple[int, int, int, int, float]:
    """Inputs lost and doubled, the difference between server and bill, wrong answers, the share of faulty requests."""
    words = [word for kind, rate in FAULTS.items() for word in (f"--{kind}-rate", str(rate))]
    with (
        server(*words, "--slow", "1.5", "--retry-after", "0") as url,
        tempfile.TemporaryDirectory() as folder,
    ):
        asking = client(url, Path(folder) / "kept.sqlite", 16, retries=20, timeout=1.0, wait=0.2)
        replies = asking.ask(x, torch.arange(len(x)))
        bill = asking.bill
        asking.close()
        time.sleep(2)  # for slow answers that nobody waits for
        counts = httpx2.get(f"{url}/count", params={"each": "1"}, trust_env=False).json()
    lost = int((~replies.answered).sum()) + counts["unanswered"] + abs(counts["distinct"] - len(x))
    wrong = int((replies.answers.argmax(1) != wanted.argmax(1)).sum())
    met = sum(counts["faults"].values()) / counts["requests"]
    return lost, counts["doubled"], abs(counts["examples"] - bill.sent), wrong, met


@contextmanager
def server(*words: str) -> Iterator[str]:
    """`robustly serve` in a process of its own; yields its address."""
    started = subprocess.Popen(
        [sys.executable, "-m", "robustly", "serve", MODEL, "--port", "0", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert started.stdout is not None
        yield re.search(r"http://[\d.:]+", started.stdout.readline())[0]  # type: ignore[index]
    finally:
        started.terminate()
        started.communicate(timeout=30)
