"""The attacks on scores against the reference implementations, at the same number of queries: `pytest -s` prints it."""

from __future__ import annotations

import math

import pytest
import torch
from bench.peers import MAKE_IT, Job, available, run_peer, zoo_net

from robustly.attacks.genattack import genattack
from robustly.attacks.one_pixel import one_pixel
from robustly.attacks.pixle import pixle
from robustly.attacks.simba import simba
from robustly.attacks.spsa import spsa
from robustly.attacks.square import square
from robustly.attacks.zoo import zoo
from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Access, Model, Oracle
from robustly.steps import Case
from robustly.steps.bases import dct
from robustly.threats import L0, L2, Domain, Linf
from robustly.zoo.load import images, network

pytestmark = [
    pytest.mark.skipif(not available(), reason=f"the peers are not installed: {MAKE_IT}"),
    pytest.mark.slow,
]
UNIT = Domain(0.0, 1.0)
THREATS = {"linf": Linf, "l2": L2, "l0": L0}
PLAIN, ROBUST = "fashion_plain", "fashion_adversarial"
ZOO = {"learning_rate": 0.1, "initial_const": 10.0}
CASES = [  # peer, its attack, norm, eps, queries, ours, network, examples, the peer's options
    ("ART", "simba", "l2", math.inf, 200, simba(200, size=0.5), PLAIN, 6, {"epsilon": 0.5}),
    ("ART", "simba_dct", "l2", math.inf, 200, simba(200, size=0.5, basis=dct), PLAIN, 6, {"epsilon": 0.5}),
    ("ART", "zoo", "l2", math.inf, 1290, zoo(1290, rate=0.1), PLAIN, 4, ZOO),
    ("ART", "square", "linf", 0.03, 150, square(150), PLAIN, 20, {}),
    ("ART", "one_pixel", "l0", 10, 800, one_pixel(800), ROBUST, 4, {}),
    ("Foolbox", "genattack", "linf", 0.1, 600, genattack(600), PLAIN, 16, {}),
    ("torchattacks", "spsa", "linf", 0.06, 1280, spsa(1280, size=0.1), PLAIN, 16, {}),
    ("torchattacks", "pixle", "l0", math.inf, 200, pixle(200), ROBUST, 16, {}),
    ("torchattacks", "one_pixel", "l0", 10, 500, one_pixel(500, population=50), ROBUST, 12, {}),
]


def reached(far: torch.Tensor) -> float:
    """The median distance of what was found."""
    return far[torch.isfinite(far)].median().item() if torch.isfinite(far).any() else math.inf


@pytest.mark.parametrize(
    ("peer", "name", "norm", "eps", "queries", "mine", "net", "count", "options"),
    [pytest.param(*case, id=f"{case[0]} {case[1]}") for case in CASES],
)
def test_as_many_are_broken_as_near_for_no_more_queries(peer, name, norm, eps, queries, mine, net, count, options):
    model, (x, y, _) = network(net), images("fashion")
    index = (model(x[: 4 * count]).argmax(1) == y[: 4 * count]).nonzero().squeeze(1)[:count]
    x, y = x[index], y[index]
    target = model(x).scatter(1, y[:, None], -math.inf).argmax(1) if name == "genattack" else None
    goal, around = Goal(y, target), THREATS[norm](eps).at(x, UNIT)
    blind = Model(model, UNIT, Access.SCORES, classes=10)
    oracle = Oracle(blind, around, goal, press_on=name == "zoo")
    mine(Case(around, goal, keys.from_ids(0, [str(i) for i in range(count)]), oracle))
    ledger = oracle.ledger
    done = run_peer(Job(peer, name, norm, **zoo_net(net), eps=eps, steps=queries, options=options), x, y)
    far = THREATS[norm](math.inf).at(x, UNIT).distance(done.x)
    hit = goal.met(model(done.x)) & (far <= eps * (1 + 1e-5))
    far = torch.where(hit, far, math.inf)
    we, they = ledger.firm.double().mean().item(), hit.double().mean().item()
    print(f"\n{mine.spec} {norm}:{eps:g} {net}: {we:.2f} at {reached(ledger.distance):.3f},", end=" ")
    print(
        f"{int(ledger.forward.sum())} F; {peer}: {they:.2f} at {reached(far):.3f}, {done.forward} F {done.backward} B"
    )
    assert ledger.backward.sum() == 0
    assert ledger.forward.max() <= queries
    assert we >= they - 1.5 / count**0.5 * (they * (1 - they)) ** 0.5  # of one seed each
    if math.isinf(eps) and they and we == they:
        assert reached(ledger.distance) <= 1.2 * reached(far)
