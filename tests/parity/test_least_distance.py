"""Our attacks on the least distance against the reference implementations: `pytest -s` prints the comparison."""

from __future__ import annotations

import math

import pytest
import torch
from bench.peers import MAKE_IT, Job, available, run_peer, zoo_net
from torch import Tensor

from robustly.attacks.alma import alma
from robustly.attacks.closing_in import closing_in
from robustly.attacks.ddn import ddn
from robustly.attacks.deepfool import deepfool
from robustly.attacks.fmn import fmn
from robustly.attacks.superdeepfool import superdeepfool
from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Model, Oracle
from robustly.steps import Case
from robustly.threats import L0, L1, L2, Domain, Linf
from robustly.zoo.load import images, network

pytestmark = [
    pytest.mark.skipif(not available(), reason=f"the peers are not installed: {MAKE_IT}"),
    pytest.mark.slow,
]
UNIT, NAME, COUNT = Domain(0.0, 1.0), "fashion_adversarial", 50
THREATS = {"linf": Linf, "l2": L2, "l1": L1, "l0": L0}
CASES = [  # ours, what theirs is called, norm, their steps, further arguments of theirs, ratio of medians allowed
    (ddn(50), "ddn", "l2", 50, {}, 1.01),
    (fmn(50), "fmn", "linf", 50, {}, 1.02),
    (fmn(50), "fmn", "l1", 50, {}, 1.02),
    (fmn(100), "fmn", "l0", 100, {}, 1.1),
    (alma(100, 0.3), "alma", "l2", 100, {"init_lr_distance": 0.3}, 1.05),
    (alma(100, 0.5), "alma", "l1", 100, {"init_lr_distance": 0.5}, 1.05),
    (deepfool(50), "deepfool", "l2", 50, {}, 1.05),
    (deepfool(50), "deepfool", "linf", 50, {}, 1.05),
    (superdeepfool(100), "superdeepfool", "l2", 20, {}, 1.1),
    (closing_in(25), "fmn", "linf", 100, {}, 0.6),
    (ddn(50, gamma=0.4, last_gamma=0.005), "ddn", "l2", 100, {}, 1.0),
]


def subject() -> tuple[torch.nn.Module, Tensor, Tensor]:
    net, (x, y, _) = network(NAME), images("fashion")
    right = (net(x[:200]).argmax(1) == y[:200]).nonzero().squeeze(1)[:COUNT]
    return net, x[right], y[right]


@pytest.mark.parametrize("which", range(len(CASES)), ids=[f"{c[0].spec.name} {c[2]}" for c in CASES])  # type: ignore[attr-defined]
def test_median_distance_is_theirs_or_lower(which):
    attack, theirs, norm, steps, options, allowed = CASES[which]
    net, x, y = subject()
    around, goal = THREATS[norm](math.inf).at(x, UNIT), Goal(y)
    oracle = Oracle(Model(net, UNIT, classes=10), around, goal, press_on=True)
    attack(Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(x))]), oracle))
    ours = torch.where(oracle.ledger.firm, oracle.ledger.distance, math.inf).median()
    place = zoo_net(NAME)
    job = Job("adv-lib", theirs, norm, place["net"], place["weights"], eps=math.inf, steps=steps, options=options)
    done = run_peer(job, x, y)
    found = torch.where(goal.met(net(done.x)), around.distance(done.x), math.inf).median()
    passes = (oracle.ledger.forward + oracle.ledger.backward).double().mean()
    print(f"\n{attack.spec} {norm}: {ours:.4f} for {passes:.0f} passes an example;", end=" ")  # type: ignore[attr-defined]
    print(f"adv-lib {theirs}({steps}): {found:.4f} for {(done.forward + done.backward) / len(x):.0f}")
    assert ours <= allowed * found < math.inf
