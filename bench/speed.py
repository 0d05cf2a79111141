"""Where the seconds of an audit go: in the model, or around it; in full calls, or in thin ones.

For each subject, `fast` on its first N examples, searching on the model itself, in processor seconds of this process. `model`:
the share of them inside the model, timed by hooks on its input and its answer; `rows`: the mean rows of a call; `thin`: the
share inside the model in calls of fewer than THIN rows; `idle`: the share that would be saved if every call took a row as fast as the
fullest calls do, which no filling of batches can exceed. `one batch`: seconds with all N examples in one batch, over those with
the usual 256, from alternating runs: what filling batches up with the rows of later ones would gain at best. `PGD-40`: seconds
of ours over the bare loop of bench.pgd, the same passes, alternating.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from bench.bars import Bar, Outcome
from bench.pgd import bare, ours, random_start
from bench.subjects import SUBJECTS, Subject, examples, model_of, network_of
from robustly import audit
from robustly.oracle import Model
from robustly.threats.parse import NORMS

THIN, FULL = 16, 64
ROUNDS = 2
COLUMNS = ("subject", "N", "seconds", "model", "calls", "rows", "thin", "idle", "one batch", "PGD-40")
clock = time.process_time


@dataclass
class Calls:
    """What a model was called with. forward, backward: (rows, seconds) of each pass."""

    forward: list[tuple[int, float]] = field(default_factory=list)
    backward: list[tuple[int, float]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """In the model."""
        return sum(s for _, s in (*self.forward, *self.backward))

    @property
    def rows(self) -> float:
        """The mean rows of a call."""
        return sum(n for n, _ in self.forward) / max(len(self.forward), 1)

    @property
    def thin(self) -> float:
        """Seconds in calls of fewer than THIN rows."""
        return sum(s for n, s in (*self.forward, *self.backward) if n < THIN)

    @property
    def idle(self) -> float:
        """Seconds above what the rows would take at the median rate of the full calls; at least 0."""
        return sum(_above(passes) for passes in (self.forward, self.backward))


def run(limit: int, subjects: Sequence[str] = ()) -> Outcome:
    """The profile on at most `limit` examples of each subject."""
    chosen = [s for s in SUBJECTS if (s.word in subjects if subjects else s.carried and s.norm == "linf")]
    rows = tuple(profiled(s, limit) for s in chosen)
    worst = max(float(row[-1]) for row in rows)
    return Outcome(
        "speed",
        f"plan fast on one thread, {ROUNDS} alternating runs, processor seconds",
        COLUMNS,
        rows,
        (Bar("PGD-40: seconds over the bare loop", 1 / 0.85, worst),),
    )


def profiled(one: Subject, limit: int) -> tuple[Any, ...]:
    """A line of the table."""
    x, y = examples(one, limit)
    model, calls = traced(model_of(one))
    threat = NORMS[one.norm](one.eps)

    def audited(batch: int | str) -> None:
        calls.forward.clear()
        calls.backward.clear()
        record = audit(model, (x, y), threat, "fast", twin="none", batch=batch)
        if record.status != "complete":
            raise AssertionError(f"the audit ended {record.status}: {record.why_partial}")

    whole, taken = alternating(lambda: audited(len(x)), lambda: audited("auto"))  # the calls are those of the last
    seconds = taken[-1]
    net, few = network_of(one), slice(0, 500)
    start = random_start(x[few], 0)
    loop, pgd = alternating(
        lambda: bare(net, x[few], y[few], start), lambda: ours(model_of(one), x[few], y[few], press_on=True)
    )
    return (
        f"{one.name} {one.norm} {one.eps:.4g}", len(x), seconds, calls.seconds / seconds, len(calls.forward), calls.rows,
        calls.thin / seconds, calls.idle / seconds, ratio(whole, taken), ratio(pgd, loop),
    )  # fmt: skip


def traced(model: Model) -> tuple[Model, Calls]:
    """The model, and what it is called with. A backward pass begins where it reaches the answer and ends at the input."""
    calls = Calls()

    def call(z: Tensor) -> Tensor:
        begun = clock()
        out = model.call(z)
        calls.forward.append((len(z), clock() - begun))
        if out.requires_grad:
            at = [0.0]
            out.register_hook(lambda _: at.__setitem__(0, clock()))
            z.register_hook(lambda _: calls.backward.append((len(z), clock() - at[0])))
        return out

    return replace(model, call=call), calls


def alternating(*ways: Callable[[], object]) -> tuple[list[float], ...]:
    """Seconds of each, ROUNDS times in turn."""
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(ROUNDS):
        for way, times in zip(ways, seconds, strict=True):
            begun = clock()
            way()
            times.append(clock() - begun)
    return tuple(seconds)


def ratio(one: list[float], other: list[float]) -> float:
    """The median over the rounds of one over the other."""
    return min(one) / min(other)


def _above(passes: list[tuple[int, float]]) -> float:
    full = [s / n for n, s in passes if n >= FULL]
    if not full:
        return 0.0
    rate = statistics.median(full)
    return max(0.0, sum(s - rate * n for n, s in passes))
