"""Sign-OPT and GeoDA against ART's, and circling against HopSkipJump at twice the queries: `pytest -s` prints the figures.

A peer is stopped at the budget, and the nearest point that it had asked by then counts (bench/peer_budget.py).
"""

from __future__ import annotations

import math

import pytest
from bench.peers import MAKE_IT, Job, available, run_peer, zoo_net

from robustly.attacks.circling import circling
from robustly.attacks.geoda import geoda
from robustly.attacks.signopt import signopt
from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Access, Model, Oracle
from robustly.steps import Case
from robustly.threats import L2, Domain, Linf
from robustly.zoo.load import images, network

pytestmark = [
    pytest.mark.skipif(not available(), reason=f"the peers are not installed: {MAKE_IT}"),
    pytest.mark.slow,
]
UNIT, THREATS = Domain(0.0, 1.0), {"linf": Linf, "l2": L2}
CASES = [  # ours, our queries, theirs, norm, network, their queries, images, ratio of the geometric means allowed
    (signopt, 1000, "signopt", "l2", "fashion_plain", 1000, 5, 1.0),
    (geoda, 1000, "geoda", "l2", "fashion_plain", 1000, 5, 1.0),
    (geoda, 1000, "geoda", "linf", "fashion_plain", 1000, 5, 1.0),
    (circling, 2500, "hopskipjump", "l2", "fashion_plain", 5000, 10, 1.02),
    (circling, 2500, "hopskipjump", "l2", "fashion_adversarial", 5000, 10, 1.02),
]


@pytest.mark.parametrize("which", range(len(CASES)), ids=[f"{c[0].__name__} {c[1]} {c[3]} {c[4]}" for c in CASES])
def test_the_distance_is_theirs_or_lower(which):
    make, queries, theirs, norm, name, most, count, allowed = CASES[which]
    net, (x, y, _) = network(name), images("fashion")
    right = (net(x[:200]).argmax(1) == y[:200]).nonzero().squeeze(1)[:count]
    x, y, place = x[right], y[right], zoo_net(name)
    job = Job("ART", theirs, norm, place["net"], place["weights"], eps=math.inf, steps=most)
    done = run_peer(job, x, y)
    around, goal = THREATS[norm](math.inf).at(x, UNIT), Goal(y)
    oracle = Oracle(Model(net, UNIT, classes=10).granting(Access.LABELS), around, goal, press_on=True)
    make(queries)(Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(x))]), oracle))
    both = goal.met(net(done.x))  # the peers find no start for some images
    assert oracle.ledger.hit.all()
    assert both.float().mean() > 0.5
    mine, other = (d[both].log().mean().exp() for d in (oracle.ledger.distance, around.distance(done.x)))
    print(
        f"\n{make.__name__}({queries}) {norm} {name}: {mine:.4f}; ART {theirs}({most}): {other:.4f} on {int(both.sum())}"
    )
    assert mine <= allowed * other
