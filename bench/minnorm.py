"""The least distance that attacks find, against the passes they spend, per norm and model; ours and the peers'.

Each runs on the same correctly read examples, in one batch, at several budgets. Passes are counted inside the model by
hooks, forward and backward; ours are the larger of that count and the ledger's bill. Every point is judged by one referee,
in float32 on the original model inside [0, 1]; an example that isn't broken counts as infinitely far. The peers' results
are kept as records under bench/results/minnorm/, so that this runs only ours; --missing runs the peers' settings without a
record, --again all of them, and --slow adds those that take minutes to be compiled. A bar holds if our best setting at no more than half the passes of the best
peer's (its lowest median at any budget) comes at least as near. The last column is our worst such ratio against any setting on
the peers' own frontier, from FROM passes on: below, nobody has come near.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from bench import contenders
from bench.bars import Bar, Outcome
from bench.curves import picture
from bench.distances import Reached, best, frontier, ratio_at_half, read, write
from bench.subjects import Subject, examples, network_of, subject
from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Model, Oracle
from robustly.steps import Attack, Case
from robustly.threats import Domain
from robustly.threats.parse import NORMS

UNIT = Domain(0.0, 1.0)
MODELS = ("fashion_adversarial", "fashion_plain", "trades_mnist", "sdp_cifar_adv")
COUNT = 50
FOLDER = Path(__file__).parent / "results"
FROM = 100
JOB_LIMIT = 900.0  # seconds for one setting of a peer
COLUMNS = ("norm", "model", "best peer", "median", "passes", "ours at half", "median", "passes", "ratio", "worst ratio")


def run(
    limit: int = COUNT,
    norm: str = "",
    subjects: Sequence[str] = (),
    missing: bool = False,
    again: bool = False,
    slow: bool = False,
) -> Outcome:
    """The benchmark on at most `limit` correctly read examples of each model (all four norms unless one is named)."""
    rows, bars, notes = [], [], []
    for one_norm in (norm,) if norm else contenders.NORMS:
        curves = {}
        for name in subjects or MODELS:
            one = subject(name)
            net = network_of(one)
            x, y = right(one, net, min(limit, COUNT))
            peers = theirs(one, net, one_norm, x, y, _asked(one_norm, missing or again, slow), again)
            if not peers:
                notes.append(f"{one_norm} {name}: no records of the peers; make them with --missing")
                continue
            kept = {(r.who, r.attack, r.setting) for r in peers}
            if lacking := [s for s in contenders.theirs(one_norm) if (s.peer, s.attack, s.label) not in kept]:
                told = "; ".join(f"{s.peer} {s.attack}({s.label})" for s in lacking)
                notes.append(f"{one_norm} {name}: without a record, failed or not run: {told}")
            mine = ours(net, one_norm, x, y)
            write(FOLDER / "minnorm" / f"ours-{one_norm}-{name}.json", mine)
            row, bar = compared(one_norm, name, mine, peers)
            rows.append(row)
            bars.append(bar)
            curves[name] = (mine, peers)
        if curves:
            (FOLDER / f"minnorm-{one_norm}.svg").write_text(picture(one_norm, curves))
    setting = f"median distance of {min(limit, COUNT)} correctly read examples a model; passes are F + B an example"
    return Outcome("minnorm", setting, COLUMNS, tuple(rows), tuple(bars), tuple(notes))


def compared(norm: str, name: str, mine: Sequence[Reached], peers: Sequence[Reached]) -> tuple[tuple, Bar]:
    """A row of the table and its bar."""
    leader = best(peers)
    assert leader is not None
    half = best(mine, leader.passes / 2)
    ratio = ratio_at_half(mine, leader)
    worst = max((ratio_at_half(mine, peer) for peer in frontier(peers) if peer.passes >= FROM), default=ratio)
    told = (half.name, half.median, round(half.passes)) if half else (None, None, None)
    row = (norm, name, f"{leader.who} {leader.name}", leader.median, round(leader.passes), *told, ratio, worst)
    return row, Bar(f"{norm} {name}: median at half the passes of {leader.who} {leader.attack}, over its", 1.0, ratio)


def right(one: Subject, net: nn.Module, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` examples that the network reads correctly, among its first 8 * count."""
    x, y = examples(one, 8 * count)
    with torch.no_grad():
        index = (~Goal(y).met(net(x))).nonzero().squeeze(1)[:count]
    return x[index], y[index]


def judged(net: nn.Module, norm: str, x: Tensor, y: Tensor, z: Tensor) -> tuple[float, ...]:
    """The distance of each point in that norm, by the referee: infinite unless it is inside [0, 1] and misread."""
    around = NORMS[norm](math.inf).at(x, UNIT)
    with torch.no_grad():
        met = Goal(y).met(net(z)) & around.contains(z)
    return tuple(torch.where(met, around.distance(z), torch.inf).tolist())


def ours(net: nn.Module, norm: str, x: Tensor, y: Tensor) -> tuple[Reached, ...]:
    """All of our attacks that are registered."""
    return tuple(
        reached(net, norm, x, y, attack, *one.label)
        for one in contenders.ours(norm)
        if (attack := one.make()) is not None
    )


def reached(net: nn.Module, norm: str, x: Tensor, y: Tensor, attack: Attack, name: str, setting: str) -> Reached:
    """One attack of ours."""
    seen = [0, 0]

    def forward(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        seen[0] += len(out)
        if out.requires_grad:
            out.register_hook(lambda grad: seen.__setitem__(1, seen[1] + len(grad)))

    around, goal = NORMS[norm](math.inf).at(x, UNIT), Goal(y)
    oracle = Oracle(Model(net, UNIT, classes=10), around, goal, press_on=True)
    handle = net.register_forward_hook(forward)
    try:
        attack(Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(x))]), oracle))
    finally:
        handle.remove()
    ledger = oracle.ledger
    spent = max(seen[0], int(ledger.forward.sum())), max(seen[1], int(ledger.backward.sum()))
    return Reached("ours", name, setting, judged(net, norm, x, y, ledger.point), *spent)


def theirs(
    one: Subject,
    net: nn.Module,
    norm: str,
    x: Tensor,
    y: Tensor,
    asked: Sequence[contenders.Theirs] = (),
    again: bool = False,
) -> tuple[Reached, ...]:
    """The peers' results on these examples: from the record, and those asked for that it lacks are run and kept; with
    again, all those asked for."""
    path = FOLDER / "minnorm" / f"peers-{norm}-{one.name}.json"
    kept = {(r.who, r.attack, r.setting): r for r in read(path) if len(r.distances) == len(x)}
    settings = [s for s in asked if again or (s.peer, s.attack, s.label) not in kept]
    if settings:
        from bench.peers import Job, run_many

        jobs = [
            Job(s.peer, s.attack, norm, eps=math.inf, steps=s.steps, options=dict(s.options), **one.place)
            for s in settings
        ]
        for setting, done in zip(settings, run_many(jobs, x, y, JOB_LIMIT), strict=True):
            key = (setting.peer, setting.attack, setting.label)
            if isinstance(done, str):
                print(f"{norm} {one.name}: {' '.join(key)} failed: {done}", flush=True)
                continue
            kept[key] = Reached(*key, judged(net, norm, x, y, done.x), done.forward, done.backward)
            write(path, kept.values())
    return tuple(kept.values())


def _asked(norm: str, usual: bool, slow: bool) -> tuple[contenders.Theirs, ...]:
    return (contenders.theirs(norm) if usual else ()) + (contenders.slow(norm) if slow else ())
