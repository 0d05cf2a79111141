"""Our transfer attacks against those of torchattacks: how many examples of one network fool another."""

from __future__ import annotations

import pytest
from bench.peers import MAKE_IT, Job, available, run_peer, zoo_net
from scipy.stats import binomtest

from robustly.attacks.diverse_views import difgsm, sinifgsm
from robustly.attacks.pifgsm import pifgsm
from robustly.attacks.tifgsm import tifgsm
from robustly.attacks.transferred import transferred
from robustly.attacks.vmifgsm import vmifgsm, vnifgsm
from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Model, Oracle
from robustly.steps import Case
from robustly.threats import Domain, Linf
from robustly.zoo.load import images, network

pytestmark = [
    pytest.mark.skipif(not available(), reason=f"the peers are not installed: {MAKE_IT}"),
    pytest.mark.slow,
]
UNIT, FROM, TO, EPS, COUNT = Domain(0.0, 1.0), "fashion_plain", "fashion_adversarial", 0.2, 50
CASES = [  # ours, what theirs is called, further arguments of theirs
    (difgsm(10, 0.1), "difgsm", {"decay": 1.0}),
    (tifgsm(10, 0.1, width=7), "tifgsm", {"decay": 1.0, "len_kernel": 7, "diversity_prob": 0.0}),
    (sinifgsm(10, 0.1), "sinifgsm", {}),
    (vmifgsm(10, 0.1, times=5), "vmifgsm", {}),
    (vnifgsm(10, 0.1, times=5), "vnifgsm", {}),
    (pifgsm(10, 0.1), "pifgsm", {}),
    (pifgsm(10, 0.1), "pifgsmpp", {}),
]


@pytest.mark.parametrize(("attack", "theirs", "options"), CASES, ids=[c[1] for c in CASES])
def test_as_many_examples_fool_the_other_network(attack, theirs, options):
    source, target, (x, y, _) = network(FROM), network(TO), images("fashion")
    right = (source(x[:200]).argmax(1) == y[:200]) & (target(x[:200]).argmax(1) == y[:200])
    rows = right.nonzero().squeeze(1)[:COUNT]
    x, y = x[rows], y[rows]
    around, goal = Linf(EPS).at(x, UNIT), Goal(y)
    oracle = Oracle(Model(target, UNIT, classes=10), around, goal)
    inner = transferred(Model(source, UNIT, classes=10), attack)
    inner(Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(x))]), oracle))
    ours = oracle.ledger.hit
    place = zoo_net(FROM)
    done = run_peer(
        Job("torchattacks", theirs, "linf", place["net"], place["weights"], EPS, 10, 0.1, options=options), x, y
    )
    them = goal.met(target(done.x)) & around.contains(done.x)
    print(f"\n{attack.spec}: {int(ours.sum())} of {len(x)}; torchattacks {theirs}: {int(them.sum())}")
    lost, won = int((them & ~ours).sum()), int((ours & ~them).sum())
    assert lost <= won or binomtest(lost, lost + won, alternative="greater").pvalue > 0.05
    assert ours.sum() >= 5
