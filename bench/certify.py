"""Verdicts on properties whose truth is known: four families of the verification competition, and needle networks.

Each instance runs on one thread, with its limit in seconds of processor time, which other work on the machine does not shorten.
Verdicts are kept as records under bench/results/certify/, a file a family, as they come; --missing makes those that have none, and
--again all of them anew. A verdict against the known one is wrong, whatever else is right.
"""

from __future__ import annotations

import csv
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bench.bars import Bar, Outcome
from bench.needles import Needle, saved, spike, trained
from robustly.verifying.answers import Answer
from robustly.verifying.network import Network, load_network
from robustly.verifying.verify import verify

SHARED = Path(__file__).parents[2] / "shared" / "data" / "vnncomp"
FOLDER = Path(__file__).parent / "results" / "certify"
COLUMNS = (
    "family", "limit s", "of", "sat known", "falsified", "unsat known", "certified", "unknown", "wrong", "median s", "longest s",
)  # fmt: skip


class Family(NamedTuple):
    """seconds: the limit of an instance. certified: how many of the unsat must be proven. missed: how many of the known sat may be
    missed."""

    seconds: float
    certified: int
    missed: int


FAMILIES = {
    "mnist_fc_2022": Family(60, 48, 0),
    "cora_mnist_2024": Family(60, 18, 2),
    "safenlp_2024": Family(20, 400, 2),
    "oval21": Family(60, 5, 2),
    "needles": Family(20, 6, 10**6),
}
NEEDLES = tuple(
    [("trained", seed) for seed in range(12)]
    + [("spike sat", seed) for seed in range(6)]
    + [("spike unsat", seed) for seed in range(6)]
)


class Task(NamedTuple):
    """An instance: its name in the record, and the known verdict (sat, unsat, unsat1: by one tool alone, unknown)."""

    name: str
    expected: str


def run(
    limit: int = 10**9,
    families: Sequence[str] = (),
    timeout: float | None = None,
    missing: bool = False,
    again: bool = False,
) -> Outcome:
    """The table of all recorded verdicts; at most `limit` instances a family are made where asked for."""
    rows, bars, notes = [], [], []
    for name in families or FAMILIES:
        if name not in FAMILIES:
            raise SystemExit(f"there is no family {name}; known: {', '.join(FAMILIES)}")
        tasks = tuple(listed(name))
        if not tasks:
            notes.append(f"{name}: its files are not here")
            continue
        seconds = timeout or FAMILIES[name].seconds
        kept = made(name, tasks, seconds, limit, missing, again)
        done = [(task, kept[task.name]) for task in tasks if task.name in kept]
        if not done:
            notes.append(f"{name}: no record; make it with --missing")
            continue
        rows.append(row(name, seconds, done))
        bars += barred(name, tasks, done)
        if len(done) < len(tasks):
            notes.append(f"{name}: {len(done)} of {len(tasks)} have a record; make the others with --missing")
    setting = (
        "one thread, seconds of processor time; a counterexample counts only as replayed in onnxruntime to the letter"
    )
    return Outcome("certify", setting, COLUMNS, tuple(rows), tuple(bars), tuple(notes))


def listed(name: str) -> Iterator[Task]:
    """The instances of a family."""
    if name == "needles":
        yield from (Task(f"{kind} {seed}", "unsat" if kind == "spike unsat" else "sat") for kind, seed in NEEDLES)
    elif (SHARED / name / "instances.csv").exists():
        with open(SHARED / name / "instances.csv", newline="") as file:
            yield from (Task(f"{line['onnx']} {line['vnnlib']}", line["expected"]) for line in csv.DictReader(file))


def made(
    name: str, tasks: Sequence[Task], seconds: float, limit: int, missing: bool, again: bool
) -> Mapping[str, Mapping[str, Any]]:
    """The records of a family at this limit, those made now among them; written after each."""
    path = FOLDER / f"{name}-{seconds:g}s.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    wanted = [task for task in tasks if again or (missing and task.name not in kept)][:limit]
    networks: dict[str, Network] = {}
    for number, task in enumerate(wanted):
        answer = answered(name, task, seconds, networks)
        kept[task.name] = {"verdict": answer.verdict, "seconds": round(answer.seconds, 2), "why": answer.why}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept, indent=0, sort_keys=True) + "\n")
        print(
            f"{name} {number + 1}/{len(wanted)} {task.name}: {answer.verdict} ({task.expected}) {answer.seconds:.1f} s",
            flush=True,
        )
    return kept


def answered(name: str, task: Task, seconds: float, networks: dict[str, Network]) -> Answer:
    """One verdict."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if name == "needles":
            needle = needle_of(task)
            with tempfile.TemporaryDirectory() as folder:
                network = load_network(saved(needle, Path(folder) / "needle.onnx"))
                return verify(network, needle.property, seconds, clock=time.process_time)
        onnx, vnnlib = task.name.split()
        if onnx not in networks:
            networks[onnx] = load_network(SHARED / name / onnx)
        return verify(networks[onnx], SHARED / name / vnnlib, seconds, clock=time.process_time)
    finally:
        torch.set_num_threads(threads)


def needle_of(task: Task) -> Needle:
    """The needle network of a name."""
    kind, seed = task.name.rsplit(" ", 1)
    if kind == "trained":
        return trained(int(seed))
    return spike(int(seed), threshold=0.875 if kind == "spike sat" else 1.125)


def row(name: str, seconds: float, done: Sequence[tuple[Task, Mapping[str, Any]]]) -> tuple[Any, ...]:
    """A line of the table."""
    sat, unsat = counted(done)
    times = sorted(record["seconds"] for _, record in done)
    return (
        name, seconds, len(done), sum(task.expected == "sat" for task, _ in done), sat,
        sum(task.expected in ("unsat", "unsat1") for task, _ in done), unsat,
        sum(record["verdict"] == "unknown" for _, record in done), wrong(done), times[len(times) // 2], times[-1],
    )  # fmt: skip


def counted(done: Sequence[tuple[Task, Mapping[str, Any]]]) -> tuple[int, int]:
    """How many of the known sat were falsified, and of the known unsat certified."""
    sat = sum(task.expected == "sat" and record["verdict"] == "sat" for task, record in done)
    return sat, sum(task.expected in ("unsat", "unsat1") and record["verdict"] == "unsat" for task, record in done)


def wrong(done: Sequence[tuple[Task, Mapping[str, Any]]]) -> int:
    """Verdicts against the known ones. That of one tool alone is no knowledge that a replayed counterexample must bow to."""
    return sum((task.expected, record["verdict"]) in (("sat", "unsat"), ("unsat", "sat")) for task, record in done)


def barred(name: str, tasks: Sequence[Task], done: Sequence[tuple[Task, Mapping[str, Any]]]) -> list[Bar]:
    """No wrong verdict, ever; the counts once all instances have a record."""
    bars = [Bar(f"{name}: wrong verdicts", 0, wrong(done))]
    if len(done) == len(tasks):
        family, (sat, unsat) = FAMILIES[name], counted(done)
        known = sum(task.expected == "sat" for task in tasks)
        if family.missed < known:
            bars.append(Bar(f"{name}: falsified of {known}", known - family.missed, sat, at_most=False))
        of = sum(task.expected in ("unsat", "unsat1") for task in tasks)
        bars.append(Bar(f"{name}: certified of {of}", family.certified, unsat, at_most=False))
    return bars
