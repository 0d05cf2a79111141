"""The plan `standard` against AutoAttack as its authors wrote it (package pyautoattack): the same verdicts for no more passes."""

from __future__ import annotations

import pytest
from bench.peers import MAKE_IT, Job, available, run_peer, zoo_net

from robustly import audit
from robustly.goals import Goal
from robustly.threats import Domain
from robustly.threats.parse import NORMS
from robustly.zoo.load import images, network

pytestmark = pytest.mark.skipif(not available(), reason=f"the peers are not installed: {MAKE_IT}")

CASES = {"linf": (0.1, 80), "l2": (1.5, 30), "l1": (6.0, 30)}


@pytest.mark.parametrize("norm", CASES)
def test_standard_gives_autoattacks_verdicts(norm):
    eps, count = CASES[norm]
    net = network("fashion_adversarial")
    x, y, _ = images("fashion")
    right = ~Goal(y).met(net(x))
    x, y = x[right][:count], y[right][:count]
    around = NORMS[norm](eps).at(x, Domain(0.0, 1.0))
    done = run_peer(Job("authors", "autoattack", norm, eps=eps, **zoo_net("fashion_adversarial")), x, y, timeout=3000)
    inside = around.distance(done.x) <= eps * (1 + 1e-6)  # their float32 projections end a last bit outside
    theirs = Goal(y).met(net(done.x)) & inside
    record = audit(net, (x, y), f"{norm}:{eps}", "standard", range=(0, 1))
    ours = [row.verdict == "broken" for row in record.rows]
    missed = [i for i, mine in enumerate(ours) if bool(theirs[i]) and not mine]
    gained = [i for i, mine in enumerate(ours) if mine and not bool(theirs[i])]
    assert 0.1 * count < sum(ours) < 0.9 * count
    assert len(missed) <= 1, f"broken by theirs alone: {missed}"
    assert len(gained) <= 0.1 * count, f"broken by ours alone: {gained}"
    assert record.summary.forward <= done.forward
    assert record.summary.backward <= done.backward


def test_standard_says_that_it_is_autoattack():
    """Its stages are the four attacks with the authors' numbers."""
    net = network("fashion_plain")
    x, y, _ = images("fashion")
    record = audit(net, (x[:1], y[:1]), "linf:0.1", "standard", range=(0, 1))
    _, *stages = record.plan_stages
    assert [s.split("(")[0] for s in stages] == ["apgd", "per_target", "fab_t", "square"]
    for stage, words in zip(
        stages,
        (
            ("steps=100", "cross_entropy"),
            ("steps=100", "dlr", "targets=9"),
            ("steps=100", "targets=9"),
            ("queries=5000",),
        ),
        strict=True,
    ):
        assert all(word in stage for word in words)
