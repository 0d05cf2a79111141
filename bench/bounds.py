"""What CROWN costs: seconds of processor time an input on one thread, at several numbers of inputs side by side.

The same inputs are bounded one by one, four at a time and all at once, so that the figures differ by what company costs and by
nothing else. The networks are small convolutional ones: trained against an attack (most hidden ranges must be found), trained for
a certificate (few must), and trained for nothing (nearly all must).
"""

from __future__ import annotations

import time
from math import inf

import torch

from bench.bars import Bar, Outcome
from robustly.adapters.models import load_model
from robustly.certify.crown import crown
from robustly.goals import Goal
from robustly.oracle.model import Model
from robustly.threats import Linf
from robustly.zoo import load as zoo

SECONDS = 0.3
"""Wanted: at most so many an input."""
GROWTH = 1.2
"""Wanted: at most so many times the seconds an input alone, with all of them side by side."""
SUBJECTS = (("fashion_adversarial", 0.1), ("fashion_certified", 0.1), ("fashion_plain", 0.02))
COUNTS = (1, 4, 16)
REPEATS = 3
"""Of which the quickest counts: other work on the machine only adds."""
COLUMNS = ("network", "eps", *(f"s an input, {n} at once" for n in COUNTS), "growth", "certified")


def run(limit: int = COUNTS[-1]) -> Outcome:
    """The table, for `limit` inputs a network."""
    rows, bars = [], []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, eps in SUBJECTS:
            model = load_model(f"zoo:{name}", range=(0.0, 1.0), classes=10)
            x, y, _ = zoo.images()
            read = (model.ask_all(x[: 4 * limit]).argmax(1) == y[: 4 * limit]).nonzero().squeeze(1)[:limit]
            times, certified = zip(*(timed(model, x[read], y[read], eps, n) for n in COUNTS), strict=True)
            growth = times[-1] / times[0]
            rows.append((name, eps, *times, growth, certified[-1]))
            bars += [Bar(f"{name}: seconds an input", SECONDS, max(times)), Bar(f"{name}: growth", GROWTH, growth)]
    finally:
        torch.set_num_threads(threads)
    setting = f"crown() on {limit} inputs of each network, one thread, processor time, the quickest of {REPEATS}"
    return Outcome("bounds", setting, COLUMNS, tuple(rows), tuple(bars))


def timed(model: Model, x: torch.Tensor, y: torch.Tensor, eps: float, at_once: int) -> tuple[float, int]:
    """Seconds an input with so many at once, and how many were certified."""
    certifier, best, proven = crown(), inf, 0
    for _ in range(REPEATS):
        begun = time.process_time()
        found = [
            certifier(model, Linf(eps).at(some, model.domain), Goal(label))
            for some, label in zip(x.split(at_once), y.split(at_once), strict=True)
        ]
        best = min(best, (time.process_time() - begun) / len(x))
        proven = sum(int(bound.certified.sum()) for bound in found)
    return best, proven
