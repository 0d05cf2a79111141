"""What a surrogate saves a query attack: the same attack without it and with it, on networks that the package carries.

Queries are forward passes of the target until the first adversarial point; an example that stands counts with the whole
budget. The surrogate was trained in another way on the same data, and its own passes are free. Square's first windows are
those of the paper (p 0.8) or smaller (p 0.3), so that a saving is not owed to their size alone.
"""

from __future__ import annotations

from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor

from bench.bars import Bar, Outcome
from robustly.attacks.mifgsm import mifgsm
from robustly.attacks.prgf import prgf
from robustly.attacks.simba_ods import simba_ods
from robustly.attacks.square import square
from robustly.attacks.transferred import transferred
from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Access, Limits, Model, Oracle
from robustly.steps import Attack, Case, in_turn
from robustly.steps.surrogates import from_surrogate
from robustly.threats import Domain, Linf
from robustly.zoo.load import images, network

UNIT = Domain(0.0, 1.0)
PAIRS = (  # target, surrogate, eps, queries an example
    ("fashion_plain", "fashion_adversarial", 0.1, 1000),
    ("fashion_plain", "fashion_certified", 0.1, 1000),
    ("fashion_adversarial", "fashion_plain", 0.2, 1000),
    ("fashion_adversarial", "fashion_certified", 0.1, 1000),
)
SEEDS = (0, 1, 2)
COUNT = 50
COLUMNS = (
    "target",
    "surrogate",
    "eps",
    "attack",
    "broken",
    "mean queries",
    "median",
    "with it",
    "broken",
    "mean",
    "median",
    "ratio",
)


def run(limit: int = COUNT) -> Outcome:
    """The benchmark on at most `limit` correctly read examples of each target."""
    rows, bars = [], []
    for target, source, eps, queries in PAIRS:
        surrogate = Model(network(source), UNIT, classes=10)
        saved = []
        for name, cold, how, warm in attacks(surrogate, queries):
            before, after = (asked(target, attack, eps, queries, limit) for attack in (cold, warm))
            saved.append(after[1] / before[1])
            rows.append((target, source, eps, name, *before, how, *after, saved[-1]))
        told = f"{target} with {source} at {eps:g}: mean queries with it over those without, Square's (p 0.3)"
        bars.append(Bar(told, 1.0, saved[1]))
    setting = f"at most {limit} correctly read examples a target, seeds 0, 1, 2; queries to the first success, linf"
    return Outcome("hybrids", setting, COLUMNS, tuple(rows), tuple(bars))


def attacks(surrogate: Model, queries: int) -> tuple[tuple[str, Attack, str, Attack], ...]:
    """Name, the attack alone, what the surrogate adds, and the attack with it."""
    start = from_surrogate(surrogate, mifgsm(20))
    return (
        ("square", square(queries), "asked first", in_turn(transferred(surrogate, mifgsm(20)), square(queries))),
        ("square p 0.3", square(queries, 0.3), "as start", square(queries, 0.3, start=start)),
        ("prgf", prgf(surrogate, queries), "as start too", prgf(surrogate, queries, start=start)),
        ("simba_ods", simba_ods(surrogate, queries), "as start too", simba_ods(surrogate, queries, start=start)),
    )


def asked(name: str, attack: Attack, eps: float, queries: int, limit: int) -> tuple[Any, ...]:
    """The share broken, and mean and median of the queries over examples and seeds."""
    net, (x, y, _) = network(name), images("fashion")
    read = (~Goal(y).met(net(x))).nonzero().squeeze(1)[:limit]
    x, y = x[read], y[read]
    model = Model(net, UNIT, classes=10).granting(Access.SCORES)
    spent: list[float] = []
    broken: list[float] = []
    for seed in SEEDS:
        hit, forward = searched(model, attack, x, y, eps, queries, seed)
        broken += hit.double().tolist()
        spent += torch.where(hit, forward, queries).double().tolist()
    return fmean(broken), fmean(spent), median(spent)


def searched(
    model: Model, attack: Attack, x: Tensor, y: Tensor, eps: float, queries: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Which examples were broken, bool (B,), and at which query, int64 (B,)."""
    around, goal = Linf(eps).at(x, UNIT), Goal(y)
    oracle = Oracle(model, around, goal, limits=Limits(queries=queries))
    attack(Case(around, goal, keys.from_ids(seed, [str(i) for i in range(len(x))]), oracle))
    return oracle.ledger.hit, oracle.ledger.first
