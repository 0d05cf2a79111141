"""Query attacks beside the peers': success and median distance after so many queries, on the same examples, three seeds.

Each side runs once with the full budget, and its traces (see bench/traces.py) say what it had found after fewer queries.
The peers' traces are kept as records under bench/results/blackbox/; --missing makes those without one. A bar holds if at
each number of queries ours is not behind the best peer by more than the noise: the larger of the two sides' spread over
their seeds, and one example in all. Where an attack has no distance to speak of but a radius, success within it is compared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from bench.bars import Bar, Outcome
from bench.peers import Job, trace_peer
from bench.rivals import QUESTIONS, Question, Rival
from bench.subjects import Subject, examples, network_of, subject
from bench.traces import Traced, ours
from robustly.goals import Goal

QUERIES = (100, 500, 1000, 2500, 5000)
SEEDS = (0, 1, 2)
COUNT = 10
MODELS = ("fashion_plain", "fashion_adversarial", "sdp_mnist_adv")
FOLDER = Path(__file__).parent / "results" / "blackbox"
COLUMNS = ("attack", "norm", "model", "of", "whose", *(f"{q} queries" for q in QUERIES))


def run(
    limit: int = COUNT, subjects: Sequence[str] = (), attacks: Sequence[str] = (), missing: bool = False
) -> Outcome:
    """The benchmark on at most `limit` correctly read examples of each model."""
    rows: list[tuple[Any, ...]] = []
    bars: list[Bar] = []
    notes: list[str] = []
    for question in QUESTIONS:
        if attacks and question.name not in attacks:
            continue
        for name in subjects or MODELS:
            one = subject(name)
            x, y = right(one, min(limit, COUNT))
            mine = [mine_on(question, rival, one, x, y) for rival in question.ours]
            peers = [found for rival in question.theirs if (found := theirs_on(question, rival, one, x, y, missing))]
            if len(peers) < len(question.theirs):
                notes.append(f"{question.name} {name}: not all the peers have a record; make them with --missing")
            eps = question.radius(one)
            rows += [row(question, traced, eps) for traced in (*mine, *peers)]
            if peers:
                bars += [bar(question, name, mine, peers, q, eps) for q in QUERIES]
            if question.half:
                bars += halved(question, name, mine, peers)
    setting = f"{min(limit, COUNT)} correctly read examples a model, seeds 0, 1, 2; the mean of the seeds' medians (or success rates)"
    return Outcome("blackbox", setting, COLUMNS, tuple(rows), tuple(bars), tuple(notes))


def right(one: Subject, count: int) -> tuple[Tensor, Tensor]:
    """The first correctly read examples."""
    x, y = examples(one, 4 * count)
    read = ~Goal(y).met(network_of(one)(x))
    return x[read][:count], y[read][:count]


def mine_on(question: Question, rival: Rival, one: Subject, x: Tensor, y: Tensor) -> Traced:
    """Our traces, made anew."""
    eps = question.radius(one) if question.fixed else math.inf
    traces = ours(rival.make, network_of(one), question.norm, x, y, QUERIES[-1], SEEDS, eps)
    return Traced("ours", rival.label, question.norm, one.name, QUERIES[-1], traces)


def theirs_on(question: Question, rival: Rival, one: Subject, x: Tensor, y: Tensor, missing: bool) -> Traced | None:
    """A peer's traces, from its record, or made where that is missing."""
    path = FOLDER / f"{rival.label}-{question.norm}-{one.name}-{len(x)}.json".replace(" ", "-")
    if path.exists():
        told = json.loads(path.read_text())["traces"]
        traces = tuple(tuple(tuple((n, d) for n, d in trace) for trace in seed) for seed in told)
        return Traced(rival.peer, rival.label, question.norm, one.name, QUERIES[-1], traces)
    if not missing:
        return None
    eps = question.radius(one)
    job = Job(
        rival.peer, rival.attack, question.norm, eps=eps, steps=rival.steps, options=dict(rival.arguments), **one.place
    )
    traces, seconds = trace_peer(job, x, y, QUERIES[-1], SEEDS)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"seconds": seconds, "traces": traces}) + "\n")
    print(f"{path.stem}: {seconds:.0f} s", flush=True)
    return Traced(rival.peer, rival.label, question.norm, one.name, QUERIES[-1], traces)


def values(question: Question, traced: Traced, queries: int, eps: float) -> list[float]:
    """What is compared, a seed each: the median distance, or minus the success rate, so that less is better."""
    return [-s for s in traced.success(queries, eps)] if question.fixed else traced.medians(queries)


def row(question: Question, traced: Traced, eps: float) -> tuple[Any, ...]:
    """A line of the table."""
    told = [abs(fmean(values(question, traced, q, eps))) for q in QUERIES]
    of = f"success at {eps:.4g}" if question.fixed else "distance"
    return (
        question.name,
        question.norm,
        traced.model,
        of,
        f"{traced.who}: {traced.attack}",
        *(f"{v:.4g}" for v in told),
    )


def bar(
    question: Question, model: str, mine: Sequence[Traced], peers: Sequence[Traced], queries: int, eps: float
) -> Bar:
    """Ours, its first setting, against the best peer."""
    own = values(question, mine[0], queries, eps)
    best = min((values(question, peer, queries, eps) for peer in peers), key=fmean)
    noise = max(spread(own), spread(best), 1 / (COUNT * len(SEEDS)) if question.fixed else 0.0)
    what = (
        f"{question.name} {question.norm}, {model}, {queries} queries: {'share left' if question.fixed else 'median'}"
    )
    shift = 1.0 if question.fixed else 0.0
    return Bar(what, finite(shift + fmean(best) + noise), finite(shift + fmean(own)))


def halved(question: Question, model: str, mine: Sequence[Traced], peers: Sequence[Traced]) -> list[Bar]:
    """The best of ours with half the queries against the peers' HopSkipJump with all of them."""
    leaders = [p for p in peers if "hopskipjump" in p.attack]
    if not leaders:
        return []
    wanted = min(fmean(p.medians(QUERIES[-1])) for p in leaders)
    reached = min(fmean(m.medians(QUERIES[-1] // 2)) for m in mine)
    what = f"{question.name} {question.norm}, {model}: our best at {QUERIES[-1] // 2} queries, HopSkipJump at {QUERIES[-1]}"
    return [Bar(what, finite(wanted), finite(reached))]


def spread(seeds: Sequence[float]) -> float:
    """The largest less the smallest; nothing where one is infinite."""
    return max(seeds) - min(seeds) if all(map(math.isfinite, seeds)) else 0.0


def finite(value: float) -> float:
    """The value, or the largest float for infinity, which JSON has not."""
    return min(value, 1e300)
