"""What the proofs of a plan add to its attacks: the bracket, and processor seconds of each on one thread."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.bars import Bar, Outcome
from bench.subjects import Subject, examples, model_of, subject
from robustly.auditing.audit import audit
from robustly.auditing.plan import load_plan
from robustly.auditing.progress import Snapshot
from robustly.core.records import Record
from robustly.threats import Linf

OWN = (
    Subject("fashion_adversarial", "fashion_mnist", "linf", 0.1),
    Subject("fashion_certified", "fashion_mnist", "linf", 0.1),
    Subject("kw_fashion_mnist", "fashion_mnist", "linf", 0.1),
    Subject("sdp_mnist_adv", "mnist", "linf", 0.1),
    Subject("sdp_cifar_mix", "sdp_cifar", "linf", 2 / 255),
)
MOST = 0.5
"""Wanted: the proofs take at most so many times the seconds of the attacks, which their share of the work stands for."""
COLUMNS = ("model", "eps", "N", "by intervals", "certified", "standing", "attacks s", "proofs s", "not tried")


def run(limit: int = 300, plan: str = "fast", subjects: Sequence[str] = ()) -> Outcome:
    """The table, for the first `limit` test examples of each model."""
    rows, bars = [], []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    known = {one.name: one for one in OWN}
    try:
        for one in [known.get(name) or subject(name) for name in subjects] or OWN:
            record, seconds = audited(one, limit, plan)
            proofs = {s.spec.name for s in load_plan(plan).stages if s.kind == "certify"}
            attacks = sum(s for name, s in seconds.items() if name not in proofs)
            proven = sum(s for name, s in seconds.items() if name in proofs)
            early = sum(row.verdict == "certified" and str(row.by).startswith("interval") for row in record.rows)
            left = sum("was not tried" in (row.why or "") for row in record.rows)
            n = len(record.rows)
            summary = record.summary
            rows.append((one.name, one.eps, n, early / n, summary.certified, summary.attacked, attacks, proven, left))
            bars.append(Bar(f"{one.name}: proofs' seconds in those of the attacks", MOST, proven / attacks))
    finally:
        torch.set_num_threads(threads)
    setting = f"plan {plan}, first {limit} test examples, processor seconds on one thread"
    return Outcome("brackets", setting, COLUMNS, tuple(rows), tuple(bars))


def audited(one: Subject, limit: int, plan: str) -> tuple[Record, dict[str, float]]:
    """The record, and processor seconds by the name of the stage."""
    seconds: dict[str, float] = defaultdict(float)
    ended, stage, at = True, "", time.process_time()

    def watch(snapshot: Snapshot) -> None:
        nonlocal ended, stage, at
        now = time.process_time()
        seconds[snapshot.stage if ended else stage] += now - at  # what lies between two stages prepares the second
        ended, stage, at = snapshot.done == snapshot.asked, snapshot.stage, now

    with tempfile.TemporaryDirectory() as folder:
        record = audit(
            model_of(one), examples(one, limit), Linf(one.eps), plan=plan, out=Path(folder) / "run", watch=watch
        )
    return record, dict(seconds)
