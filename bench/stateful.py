"""Stateful detection of query sequences: how often and how soon each query attack is seen, and how often honest queries are.

An attack on one example is one account. It is told the truth, so that what it asks is what it would ask undefended; the
detectors only watch, all of them the same sequence. `asked until` is the paper's measure: as soon as an account is
detected it is closed and the attacker goes on with a new one, so queries / detections is what one account is good for. An
attack counts as `broken first` if it found its adversarial example before its first detection. Thresholds are those of one
half of the carried images; the other half, asked by one honest account, shows the false positives.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.bars import Bar, Outcome
from robustly.adapters.models import load_model
from robustly.core import keys, specs
from robustly.defend.fingerprints import fingerprints
from robustly.defend.guarded import Account, Detector
from robustly.defend.nearest import K, nearest_queries
from robustly.defend.similarity import similarity
from robustly.goals import Goal
from robustly.oracle import Access, Model, Oracle
from robustly.steps import Attack, Case
from robustly.threats import L2, Domain, Linf, Threat
from robustly.zoo.load import images, network

NAME, EPS, QUERIES = "fashion_adversarial", 0.1, 1000
UNIT = Domain(0.0, 1.0)
WITHIN, NEAREST, NEAREST_LINF = Linf(EPS), L2(math.inf), Linf(math.inf)
ATTACKS: dict[str, Threat] = {
    **dict.fromkeys(("square", "simba", "nes", "spsa", "bandits", "n_attack", "genattack"), WITHIN),
    **dict.fromkeys(("zoo", "hopskipjump", "boundary", "signopt", "geoda", "surfree", "cgba", "circling"), NEAREST),
    "rays": NEAREST_LINF,
}
"""The attacks by queries, and what each runs under: a radius, or none for those that look for the nearest point."""


@dataclass
class Sequence:
    """What one attack asked: queries, the number of the first that was adversarial inside the set, and detections by name."""

    queries: int
    broken: float
    detected: dict[str, list[int]]


def run(limit: int = 10) -> Outcome:
    """The benchmark on correctly read images: `limit` of them an attack, at most 1000 queries each."""
    torch.set_num_threads(1)
    net = network(NAME)
    x, y, _ = images("fashion")
    clean, other = x[::2], x[1::2]
    right = (net(other).argmax(1) == y[1::2]).nonzero().flatten()[:limit]
    model = load_model(net, range=(0.0, 1.0), classes=10)
    makers: dict[str, Callable[[], Detector]] = {
        "nearest": nearest_queries(clean, forgets=True),
        "similarity": nearest_queries(clean, similarity(clean), forgets=True),
        "fingerprints": fingerprints(UNIT),
    }
    false = {name: make().flag(other).float().mean().item() for name, make in makers.items()}
    rows, found = [], {}
    for name, threat in ATTACKS.items():
        attack = specs.build("attack", name, {"queries": QUERIES})
        done = [asked(model, attack, threat, other[i : i + 1], y[1::2][i : i + 1], makers) for i in right.tolist()]
        for detector in makers:
            found[name, detector] = row = summed(done, detector, counts_broken=threat is WITHIN)
            rows.append((name, str(threat), detector, *row))
    first = next(iter(found))[0]
    return Outcome(
        "stateful",
        f"{NAME}, {len(right)} images an attack, at most {QUERIES} queries each, an account each",
        (
            "attack",
            "under",
            "detector",
            "detected",
            "of long ones",
            "first at",
            "asked until",
            "broken first",
            "queries",
        ),
        tuple(rows),
        (
            *(Bar(f"{name}: honest queries flagged, of {len(other)}", 0.01, rate) for name, rate in false.items()),
            *(
                Bar(
                    f"{first} detected by {name}",
                    0.9,
                    found[first, name][0],
                    at_most=False,
                )
                for name in makers
            ),
        ),
        (
            (
                f"detected: share of the attacks with a detection; of long ones: of those that asked more than {K} queries, which "
                "are the fewest that nearest and similarity wait for. first at: mean number of its first flagged query."
            ),
            "attacks without a radius look for the nearest point, so that `broken first` says nothing of them and is left out.",
        ),
    )


def asked(
    model: Model, attack: Attack, threat: Threat, x: Tensor, y: Tensor, makers: dict[str, Callable[[], Detector]]
) -> Sequence:
    """Run an attack on one example and let every detector watch."""
    accounts = {name: Account(make()) for name, make in makers.items()}
    around, goal = threat.at(x, UNIT), Goal(y)
    count, broken = 0, math.inf

    def call(z: Tensor) -> Tensor:
        nonlocal count, broken
        for account in accounts.values():
            account.look(z)
        scores = model.ask(z)
        met = Goal(y.expand(len(z))).met(scores) & threat.at(x.expand_as(z), UNIT).contains(z)
        if met.any() and math.isinf(broken):
            broken = count + 1 + int(met.nonzero()[0])
        count += len(z)
        return scores

    watched = replace(model, call=call, module=None, access=Access.SCORES)
    oracle = Oracle(watched, around, goal, press_on=math.isinf(around.radius.item()))  # type: ignore[attr-defined]
    attack(Case(around, goal, keys.from_ids(0, ["0"]), oracle))
    return Sequence(count, broken, {name: account.detected for name, account in accounts.items()})


def summed(
    done: list[Sequence], detector: str, counts_broken: bool
) -> tuple[float, float | None, float | None, float | None, float | None, float]:
    """Share detected, of all and of those beyond K queries; mean number of the first detection; queries a detection; share broken before it; mean queries."""
    seen = [one.detected[detector] for one in done]
    firsts = [float(numbers[0]) for numbers in seen if numbers]
    total = sum(one.queries for one in done)
    ends = [(one.broken, numbers[0] if numbers else math.inf) for one, numbers in zip(done, seen, strict=True)]
    early = sum(broken < first for broken, first in ends) / len(done)
    long = [bool(numbers) for one, numbers in zip(done, seen, strict=True) if one.queries > K]
    return (
        len(firsts) / len(done),
        sum(long) / len(long) if long else None,
        sum(firsts) / len(firsts) if firsts else None,
        total / sum(map(len, seen)) if firsts else None,
        early if counts_broken else None,
        total / len(done),
    )
