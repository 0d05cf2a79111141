"""The plan `fast` against AutoAttack: passes, verdicts and seconds on the same examples.

AutoAttack's side are the records of `python -m bench.reference` (its authors' algorithm from the package pyautoattack, three
seeds, or those that were run), so this runs only ours: the first N examples of each subject for which the records exist. F and B are examples
forward and backward through the model; ours are the audit's bill, which is held against a count inside the model. Every
point of both sides was judged by one referee. `+` are examples we break and a seed of AutoAttack doesn't, `-` the reverse;
`seeds` is the most that one seed of AutoAttack misses of another. Seconds: --seconds runs AutoAttack once more between two
of our runs, on the first block, so that the ratio is of the same minutes of the same machine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

from torch import Tensor

from bench.bars import Bar, Outcome
from bench.reference import Found, make, read
from bench.subjects import SUBJECTS, Subject, examples, model_of
from robustly import audit
from robustly.core.records import Record
from robustly.oracle import Model
from robustly.threats.parse import NORMS

SEEDS = (0, 1, 2)
COLUMNS = (
    "subject", "N", "AutoAttack F", "B", "RA, each seed", "fast F", "B", "RA", "passes", "+", "-", "seeds",
)  # fmt: skip
WANTED = {"large": 20.0, "small": 12.0, "plain": 35.0, "seconds": 15.0}
LARGE, SMALL = 5000, 500
"""From how many examples on the bar is that of many, and below how many passes have no bar at all."""


@dataclass(frozen=True)
class Compared:
    """Ours beside AutoAttack's seeds on one subject. robust: places of examples that stood, ours and of each seed."""

    subject: Subject
    count: int
    ours: Record
    robust: frozenset[int]
    theirs: tuple[frozenset[int], ...]
    forward: float
    backward: float

    @property
    def ratio(self) -> float:
        """AutoAttack's passes (mean of the seeds) over ours."""
        return (self.forward + self.backward) / (self.ours.summary.forward + self.ours.summary.backward)

    @property
    def missed(self) -> int:
        """The most examples that a seed of AutoAttack broke and we didn't."""
        return max(len(self.robust - them) for them in self.theirs)

    @property
    def gained(self) -> int:
        """The fewest examples that we broke and a seed of AutoAttack didn't."""
        return min(len(them - self.robust) for them in self.theirs)

    @property
    def apart(self) -> int:
        """The most examples that one seed of AutoAttack broke and another didn't."""
        return max((len(b - a) for a, b in permutations(self.theirs, 2)), default=0)


def run(limit: int, subjects: Sequence[str] = (), plan: str = "fast", seconds: bool = False) -> Outcome:
    """The benchmark on at most `limit` examples of each subject."""
    chosen = [s for s in SUBJECTS if not subjects or s.word in subjects]
    compared = [c for s in chosen for n in sizes(s, limit) if (c := compare(s, n, plan)) is not None]
    times = [timed(s, plan) for s in chosen if seconds and s.defended and read(s, 0, 0)]
    rows = tuple(row(c) for c in compared)
    bars = tuple(bar for c in compared for bar in bars_of(c))
    bars += tuple(Bar(f"{word}: seconds of AutoAttack over ours", WANTED["seconds"], r, False) for word, r in times)
    notes = tuple(f"{s.word}: no records of AutoAttack; make them with python -m bench.reference {s.word}"
                  for s in chosen if not sizes(s, limit))  # fmt: skip
    return Outcome(
        "autoattack",
        f"plan {plan} against AutoAttack standard, of seeds 0, 1, 2 those that were run",
        COLUMNS,
        rows,
        bars,
        notes,
    )


def sizes(one: Subject, limit: int) -> list[int]:
    """The numbers of examples to compare on: the first block, and as many as all its seeds were run on."""
    blocks, seeds = 0, seeds_of(one)
    while seeds and blocks * one.block < limit and all(read(one, blocks, seed) for seed in seeds):
        blocks += 1
    every = sum(found.count for block in range(blocks) if (found := read(one, block, seeds[0])))
    return sorted({min(one.block, every), every}) if blocks else []


def seeds_of(one: Subject) -> tuple[int, ...]:
    """The seeds that AutoAttack was run with on the first block."""
    return tuple(seed for seed in SEEDS if read(one, 0, seed))


def compare(one: Subject, count: int, plan: str) -> Compared | None:
    """Ours beside the records on the first `count` examples."""
    x, y = examples(one, count)
    ours = ours_on(one, x, y, plan)
    robust = frozenset(row.index for row in ours.rows if row.verdict in ("unknown", "certified"))
    found = [[read(one, block, seed) for block in range(-(-count // one.block))] for seed in seeds_of(one)]
    theirs = tuple(frozenset(range(count)) - decided(blocks) for blocks in found)
    spent = [(f.forward, f.backward) for blocks in found for f in blocks if f]
    forward, backward = (sum(s[k] for s in spent) / len(found) for k in (0, 1))
    return Compared(one, count, ours, robust, theirs, forward, backward)


def decided(blocks: Sequence[Found | None]) -> frozenset[int]:
    """Places of the examples that were misread or broken."""
    return frozenset(place for found in blocks if found for place in (*found.wrong, *found.broken))


def ours_on(one: Subject, x: Tensor, y: Tensor, plan: str) -> Record:
    """Our audit, searching on the model itself, with its bill held against a count inside the model."""
    model, seen = counted(model_of(one))
    record = audit(model, (x, y), NORMS[one.norm](one.eps), plan, twin="none")
    bill = (record.summary.forward, record.summary.backward)
    if bill != (seen["forward"], seen["backward"]):
        raise AssertionError(f"the bill says {bill}, the model saw {seen}")
    return record


def counted(model: Model) -> tuple[Model, dict[str, int]]:
    """The model, and a count of the examples that pass forward and backward through it."""
    seen = {"forward": 0, "backward": 0}

    def back(grad: Tensor) -> None:
        seen["backward"] += len(grad)

    def call(z: Tensor) -> Any:
        seen["forward"] += len(z)
        out = model.call(z)
        if out.requires_grad:
            out.register_hook(back)
        return out

    return replace(model, call=call), seen


def timed(one: Subject, plan: str) -> tuple[str, float]:
    """AutoAttack's seconds over ours on the first block: ours, AutoAttack, ours again."""
    x, y = examples(one, one.block)

    def ours() -> float:
        begun = time.perf_counter()
        audit(model_of(one), (x, y), NORMS[one.norm](one.eps), plan)
        return time.perf_counter() - begun

    before = ours()
    theirs = make(one, 0, 0).seconds
    return one.word, theirs / ((before + ours()) / 2)


def row(c: Compared) -> tuple[Any, ...]:
    """A line of the table."""
    accuracies = " ".join(f"{len(them) / c.count:.4f}" for them in c.theirs)
    spent = c.ours.summary
    return (
        f"{c.subject.name} {c.subject.norm} {c.subject.eps:.4g}", c.count, round(c.forward), round(c.backward), accuracies,
        spent.forward, spent.backward, f"{len(c.robust) / c.count:.4f}", f"1/{c.ratio:.1f}", c.gained, c.missed, c.apart,
    )  # fmt: skip


def bars_of(c: Compared) -> tuple[Bar, ...]:
    """What is promised of a subject."""
    what = f"{c.subject.word}, N = {c.count}"
    wanted = WANTED["plain" if not c.subject.defended else "large" if c.count >= LARGE else "small"]
    lowest = min(len(them) for them in c.theirs) / c.count
    passes = Bar(f"{what}: passes of AutoAttack over ours", wanted, c.ratio, at_most=False)
    return (
        *([passes] if c.count >= SMALL else []),
        Bar(f"{what}: robust accuracy, at most the lowest seed's", lowest, len(c.robust) / c.count),
        Bar(f"{what}: broken by AutoAttack and not by us", float(c.apart), float(c.missed)),
    )
