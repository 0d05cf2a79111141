"""The plans of AutoAttack against its authors' own code (package pyautoattack): the same verdicts, for no more passes where
both are to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.peers import MAKE_IT, Job, available, run_peer, zoo_net
from tests.parity.noisy import noisy_convnet

from robustly import audit
from robustly.core.specs import entries
from robustly.goals import Goal
from robustly.threats import Domain
from robustly.threats.parse import NORMS
from robustly.zoo.load import images, network

pytestmark = pytest.mark.skipif(not available(), reason=f"the peers are not installed: {MAKE_IT}")

CASES = {"linf": (0.1, 80), "l2": (1.5, 30), "l1": (6.0, 30)}


@pytest.mark.parametrize("norm", CASES)
def test_standard_gives_autoattacks_verdicts(norm):
    eps, count = CASES[norm]
    ours, theirs, record, done = verdicts("standard", norm, eps, count)
    agree(ours, theirs)
    assert record.summary.forward <= done.forward
    assert record.summary.backward <= done.backward


def test_plus_gives_autoattacks_verdicts():
    ours, theirs, record, done = verdicts("plus", "linf", 0.1, 30)
    agree(ours, theirs)
    assert record.summary.forward <= done.forward
    assert record.summary.backward <= done.backward


def test_rand_gives_autoattacks_verdicts_on_a_random_model():
    """Verdicts by most of many answers, on both sides: the authors' own count is of a single answer."""
    ours, theirs, _, _ = verdicts("rand", "linf", 0.1, 30, noisy=True)
    agree(ours, theirs)


def verdicts(plan, norm, eps, count, noisy=False):
    """Which examples ours and theirs broke, of the first that the model reads rightly; our record and their bill."""
    net = noisy_convnet() if noisy else network("fashion_adversarial")
    if noisy:
        net.load_state_dict(network("fashion_adversarial").state_dict())
        net.eval().requires_grad_(False)
    x, y, _ = images("fashion")
    goal = Goal(y)
    right = ~most(net, goal, x, noisy)
    x, y = x[right][:count], y[right][:count]
    place = zoo_net("fashion_adversarial") | (
        {"net": f"{Path(__file__).parent / 'noisy.py'}:noisy_convnet"} if noisy else {}
    )
    job = Job("authors", "autoattack", norm, eps=eps, options={"version": plan}, **place)
    done = run_peer(job, x, y, timeout=3000)
    inside = NORMS[norm](eps).at(x, Domain(0.0, 1.0)).distance(done.x) <= eps * (
        1 + 1e-6
    )  # theirs end a last bit outside
    theirs = (most(net, Goal(y), done.x, noisy) & inside).tolist()
    record = audit(net, (x, y), f"{norm}:{eps}", plan, range=(0, 1))
    return [row.verdict == "broken" for row in record.rows], theirs, record, done


def most(net, goal, x, noisy):
    """Do most of the answers at x meet the goal?"""
    times = 21 if noisy else 1
    return 2 * sum(goal.met(net(x)).int() for _ in range(times)) > times


def agree(ours, theirs):
    missed = [i for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)) if other and not mine]
    gained = [i for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)) if mine and not other]
    assert 0.1 * len(ours) < sum(ours) < 0.9 * len(ours)
    assert len(missed) <= 1, f"broken by theirs alone: {missed}"
    assert len(gained) <= 0.1 * len(ours), f"broken by ours alone: {gained}"


def test_standard_says_that_it_is_autoattack():
    """Its attacks are the four with the authors' numbers."""
    net = network("fashion_plain")
    x, y, _ = images("fashion")
    record = audit(net, (x[:1], y[:1]), "linf:0.1", "standard", range=(0, 1))
    certifiers = {entry.name for entry in entries("certifier")}
    stages = [s for s in record.plan_stages if s.split("(")[0] not in certifiers]
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
