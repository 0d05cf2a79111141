"""How near an attack had come after so many queries: traces, ours and the peers'.

A trace of an example is a list of (queries, distance), one entry whenever a nearer adversarial point was asked than any
before. Peers are run on one example at a time, so that every row that passes through the model is a query on that example;
they get credit for every point they asked, whether or not they returned it. Ours run in one batch, and the ledger dates the
points; of several points asked at once all count as spent. Points outside [0, 1] count for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import torch
from torch import Tensor, nn

from robustly.core import keys
from robustly.core.rows import Batch
from robustly.goals import Goal
from robustly.oracle import Access, Ledger, Limits, Model, Oracle
from robustly.oracle.reading import Reading
from robustly.steps import Attack, Case
from robustly.threats import Domain
from robustly.threats.base import PerturbationSet
from robustly.threats.parse import NORMS

Trace = list[tuple[int, float]]
UNIT = Domain(0.0, 1.0)


class Dated(Ledger):
    """A ledger that keeps a trace of every row."""

    def __init__(self, x: Batch, device: torch.device) -> None:
        super().__init__(x, device)
        self.traces: list[Trace] = [[] for _ in range(len(x))]

    def note(
        self, rows: Tensor, z: Batch, reading: Reading, near: Callable[[Tensor], PerturbationSet], price: int = 1
    ) -> None:
        """Enter points, and what came nearer."""
        before, changes = self.distance.clone(), self.changes
        super().note(rows, z, reading, near, price)
        if self.changes == changes:
            return
        for row in (self.distance < before).nonzero().flatten().tolist():
            self.traces[row].append((int(self.forward[row]), float(self.distance[row])))


@dataclass(frozen=True)
class Traced:
    """Whose attack, on what, and the traces by seed and example. budget: queries an example."""

    who: str
    attack: str
    norm: str
    model: str
    budget: int
    traces: tuple[tuple[tuple[tuple[int, float], ...], ...], ...]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from others."""
        return (self.who, self.attack, self.norm, self.model)

    def reached(self, queries: int) -> list[list[float]]:
        """The least distance after so many queries, by seed and example; infinite where nothing was found."""
        return [
            [min((d for n, d in trace if n <= queries), default=math.inf) for trace in seed] for seed in self.traces
        ]

    def medians(self, queries: int) -> list[float]:
        """The median of them, a seed each."""
        return [median(seed) for seed in self.reached(queries)]

    def success(self, queries: int, eps: float) -> list[float]:
        """The share that came within eps, a seed each."""
        return [fmean(d <= eps * (1 + 1e-6) for d in seed) for seed in self.reached(queries)]


def ours(
    make: Callable[[], Attack],
    net: nn.Module,
    norm: str,
    x: Tensor,
    y: Tensor,
    budget: int,
    seeds: Sequence[int],
    eps: float = math.inf,
) -> tuple[tuple[tuple[tuple[int, float], ...], ...], ...]:
    """Traces of an attack of ours, by seed and example; with a finite eps an example ends at its first hit."""
    out = []
    for seed in seeds:
        attack = make()
        around, ledger = NORMS[norm](eps).at(x, UNIT), Dated(x, x.device)
        model = Model(net, UNIT, Access.SCORES, classes=net(x[:1]).shape[1])
        oracle = Oracle(model, around, Goal(y), limits=Limits(budget), press_on=math.isinf(eps), ledger=ledger)
        attack(Case(around, Goal(y), keys.from_ids(seed, [str(i) for i in range(len(x))]), oracle))
        out.append(tuple(tuple(trace) for trace in ledger.traces))
    return tuple(out)
