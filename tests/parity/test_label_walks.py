"""Our walks on labels against the peers' at the same number of queries: `pytest -s` prints the comparison.

A peer is stopped at the budget, and the nearest point that it had asked by then counts (bench/peer_budget.py).
"""

from __future__ import annotations

import math

import pytest
import torch
from bench.peers import MAKE_IT, Job, available, run_peer, zoo_net
from torch import Tensor

from robustly.attacks.boundary import boundary
from robustly.attacks.hopskipjump import hopskipjump
from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Access, Model, Oracle
from robustly.steps import Attack, Case
from robustly.threats import L2, Domain, Linf
from robustly.zoo.load import images, network

pytestmark = [
    pytest.mark.skipif(not available(), reason=f"the peers are not installed: {MAKE_IT}"),
    pytest.mark.slow,
]
UNIT, THREATS = Domain(0.0, 1.0), {"linf": Linf, "l2": L2}
CASES = [  # ours, peer, norm, network, queries, images, ratio allowed
    (hopskipjump, "Foolbox", "l2", "fashion_plain", 1000, 12, 0.9),
    (hopskipjump, "Foolbox", "l2", "fashion_adversarial", 1000, 12, 0.9),
    (hopskipjump, "Foolbox", "linf", "fashion_plain", 1000, 12, 1.15),
    (hopskipjump, "ART", "l2", "fashion_plain", 1000, 4, 1.1),
    (boundary, "Foolbox", "l2", "fashion_plain", 1000, 12, 0.7),
    (boundary, "Foolbox", "l2", "fashion_adversarial", 1000, 12, 0.9),
    (boundary, "ART", "l2", "fashion_plain", 500, 4, 1.0),
]


def subject(name: str, count: int) -> tuple[torch.nn.Module, Tensor, Tensor]:
    """Images that are read correctly, but not as the class that uniform noise is read as: there the peers find no start,
    and some raise."""
    net, (x, y, _) = network(name), images("fashion")
    noise = net(torch.rand(50, *x.shape[1:], generator=torch.Generator().manual_seed(0))).argmax(1).mode().values
    read = net(x[:200]).argmax(1)
    right = ((read == y[:200]) & (read != noise)).nonzero().squeeze(1)[:count]
    return net, x[right], y[right]


def ours(attack: Attack, norm: str, net: torch.nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The distances (B,) our attack finds."""
    model, around = Model(net, UNIT, classes=10).granting(Access.LABELS), THREATS[norm](math.inf).at(x, UNIT)
    oracle = Oracle(model, around, Goal(y), press_on=True)
    attack(Case(around, Goal(y), keys.from_ids(0, [str(i) for i in range(len(x))]), oracle))
    return oracle.ledger.distance


def middle(distance: Tensor) -> float:
    """The geometric mean: of a dozen images the median leaps."""
    return float(distance.log().mean().exp())


@pytest.mark.parametrize("which", range(len(CASES)), ids=[" ".join(map(str, (c[0].__name__, *c[1:5]))) for c in CASES])
def test_the_distance_is_theirs_or_lower(which):
    make, peer, norm, name, queries, count, allowed = CASES[which]
    net, x, y = subject(name, count)
    place = zoo_net(name)
    job = Job(peer, make.__name__, norm, place["net"], place["weights"], eps=math.inf, steps=queries)
    done = run_peer(job, x, y)
    theirs = torch.where(Goal(y).met(net(done.x)), THREATS[norm](math.inf).at(x, UNIT).distance(done.x), math.inf)
    found = ours(make(queries), norm, net, x, y)
    print(f"\n{make.__name__} {norm} {name}, {queries} queries: {middle(found):.4f}; {peer}: {middle(theirs):.4f}")
    assert middle(found) <= allowed * middle(theirs) < math.inf
