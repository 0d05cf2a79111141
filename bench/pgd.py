"""PGD-40 linf: ours against a bare loop of the same passes, and against the peers.

Passes are counted inside the model by hooks. Seconds are ratios to the bare loop from alternating runs in this process: the
median over the rounds of (ours / bare loop of the same round). Every point returned is judged by one referee on the
original model. `pressing on` keeps asking decided examples, so that it does exactly the bare loop's passes; without it
examples drop out once they are broken, which is what an audit does. The bare loop asks no last point; ours does (41 F).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.bars import Bar, Outcome
from robustly.adapters.models import load_model
from robustly.adapters.twin import fast_twin
from robustly.attacks.pgd import pgd
from robustly.core import keys
from robustly.core.rows import take
from robustly.goals import Goal
from robustly.oracle import Model, Oracle
from robustly.steps import Case
from robustly.threats import Domain, Linf
from robustly.zoo.load import images, network

EPS, STEPS, SIZE, ROUNDS, SEEDS = 0.1, 40, 0.1, 7, 4
UNIT = Domain(0.0, 1.0)


def run(limit: int) -> Outcome:
    """The benchmark on the adversarially trained zoo model, on correctly read examples."""
    net = network("fashion_adversarial")
    x, y, _ = images("fashion")
    right = net(x).argmax(1) == y
    x, y = x[right][:limit], y[right][:limit]
    model = load_model(net, range=(0.0, 1.0), classes=10)
    start = random_start(x, 0)
    ways: dict[str, Callable[[], Tensor]] = {
        "bare loop": lambda: bare(net, x, y, start),
        "ours, pressing on": lambda: ours(model, x, y, press_on=True),
        "ours": lambda: ours(model, x, y, press_on=False),
        "ours, channels-last twin": lambda: ours(fast_twin(model, "channels-last"), x, y, press_on=True),
        "ours, bf16 twin": lambda: ours(fast_twin(model, "bf16"), x, y, press_on=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Tensor] = {}
    for _ in range(ROUNDS + 1):  # the first round warms up
        for name, way in ways.items():
            begun = time.perf_counter()
            found[name] = way()
            seconds[name].append(time.perf_counter() - begun)
    ratio = {
        name: statistics.median(a / b for a, b in zip(times[1:], seconds["bare loop"][1:], strict=True))
        for name, times in seconds.items()
    }
    passes = {name: counted(net, model, name, way) for name, way in ways.items()}
    robust = {name: judged(net, x, y, z) for name, z in found.items()}
    rows = [(name, *passes[name], robust[name], ratio[name]) for name in ways]
    notes = ()
    try:
        from bench.peers import run_peers

        rows += run_peers("pgd", x, y, EPS, STEPS, SIZE)
    except ImportError as missing:
        notes = (f"peers were not run: {missing}",)
    luck = [judged(net, x, y, bare(net, x, y, random_start(x, seed))) for seed in range(1, SEEDS + 1)]
    quickest = min(("ours, channels-last twin", "ours, bf16 twin"), key=ratio.__getitem__)
    seeds = f"the worst of {SEEDS} other starts of the bare loop"
    return Outcome(
        "pgd",
        f"PGD-{STEPS}, linf {EPS}, step {SIZE} eps, {len(x)} correctly read images, one batch, same random start",
        ("attack", "F", "B", "robust accuracy", "seconds / bare loop"),
        tuple(rows),
        (
            Bar("eager model, same passes: seconds over the bare loop", 1.10, ratio["ours, pressing on"]),
            Bar(f"fast twin ({quickest}): seconds over the bare loop", 0.80, ratio[quickest]),
            Bar("robust accuracy, same start: over the bare loop's", 0.0, robust["ours"] - robust["bare loop"]),
            Bar(f"robust accuracy, fast twin: at most {seeds}", max(luck), robust[quickest]),
        ),
        notes,
    )


def random_start(x: Tensor, seed: int) -> Tensor:
    """The start that our PGD draws for a seed."""
    return Linf(EPS).at(x, UNIT).sample(keys.fold(keys.from_ids(seed, [str(i) for i in range(len(x))]), 0))


def bare(net: nn.Module, x: Tensor, y: Tensor, start: Tensor) -> Tensor:
    """The least that PGD can cost: forward, backward, sign, clip."""
    low, high, z = (x - EPS).clamp_min(0), (x + EPS).clamp_max(1), start
    for _ in range(STEPS):
        z = z.detach().requires_grad_()
        (grad,) = torch.autograd.grad(nn.functional.cross_entropy(net(z), y, reduction="sum"), z)
        z = torch.minimum(torch.maximum(z.detach() + SIZE * EPS * grad.sign(), low), high)
    return z


def ours(model: Model, x: Tensor, y: Tensor, press_on: bool) -> Tensor:
    """Our PGD through the oracle; the best evidence of each example, else the clean input."""
    around, goal = Linf(EPS).at(x, UNIT), Goal(y)
    oracle = Oracle(model, around, goal, press_on=press_on)
    pgd(STEPS, SIZE)(Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(x))]), oracle))
    return oracle.ledger.point


def judged(net: nn.Module, x: Tensor, y: Tensor, z: Tensor) -> float:
    """Robust accuracy of the points returned: adversarial only if inside the set and misread by the original."""
    around, goal = Linf(EPS).at(x, UNIT), Goal(y)
    everyone = torch.arange(len(x))
    with torch.no_grad():
        broken = goal.met(net(take(z, everyone))) & around.contains(z)
    return 1 - broken.float().mean().item()


def counted(net: nn.Module, model: Model, name: str, way: Callable[[], Tensor]) -> tuple[int | None, int | None]:
    """Examples forward and backward through the network, by hooks; a twin is another network: not counted here."""
    if "twin" in name:
        return None, None
    seen = [0, 0]

    def forward(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        seen[0] += len(out)
        if out.requires_grad:
            out.register_hook(lambda grad: seen.__setitem__(1, seen[1] + len(grad)))

    handle = net.register_forward_hook(forward)
    try:
        way()
    finally:
        handle.remove()
    return seen[0], seen[1]
