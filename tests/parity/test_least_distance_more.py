"""PDPGD and the trust region against adv-lib's, on the same examples, at half their passes."""

from __future__ import annotations

import math

import pytest
import torch
from bench.peers import MAKE_IT, Job, available, run_peer, zoo_net

from robustly.attacks.brendel_bethge import brendel_bethge
from robustly.attacks.pdpgd import pdpgd
from robustly.attacks.trust_region import trust_region
from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Model, Oracle
from robustly.steps import Case
from robustly.threats import L1, L2, Domain, Linf
from robustly.zoo.load import images, network

pytestmark = [
    pytest.mark.skipif(not available(), reason=f"the peers are not installed: {MAKE_IT}"),
    pytest.mark.slow,
]
UNIT = Domain(0.0, 1.0)
COUNT = 16
CASES = [  # our attack, the peer's name and steps, threat, norm, how far ours may be above
    (trust_region(40), "trust_region_adaptive", 100, Linf, "linf", 1.02),
    (brendel_bethge(40), "pdpgd", 200, L2, "l2", 1.02),
    (pdpgd(120), "pdpgd", 240, L1, "l1", 1.1),
    (pdpgd(200), "pdpgd", 200, Linf, "linf", 1.1),
]


@pytest.mark.parametrize(("attack", "peer", "steps", "threat", "norm", "within"), CASES)
def test_least_distances_are_theirs_or_lower(attack, peer, steps, threat, norm, within):
    x, y, _ = images("fashion")
    net = network("fashion_adversarial")
    index = (net(x[: 2 * COUNT]).argmax(1) == y[: 2 * COUNT]).nonzero().squeeze(1)[:COUNT]
    x, y = x[index], y[index]
    around = threat(math.inf).at(x, UNIT)
    oracle = Oracle(Model(net, UNIT, classes=10), around, Goal(y), press_on=True)
    attack(Case(around, Goal(y), keys.from_ids(0, [str(i) for i in range(len(x))]), oracle))
    job = Job("adv-lib", peer, norm, **zoo_net("fashion_adversarial"), eps=math.inf, steps=steps)
    done = run_peer(job, x, y)
    broken = Goal(y).met(net(done.x)) & around.contains(done.x)
    theirs = torch.where(broken, around.distance(done.x), torch.inf).median()
    ours, ledger = oracle.ledger.distance.median(), oracle.ledger
    paid = int(ledger.forward.sum() + ledger.backward.sum())
    print(f"\n{attack.spec} {norm}: {ours:.4f} for {paid}; {peer}: {theirs:.4f} for {done.forward + done.backward}")
    assert ours <= within * theirs
