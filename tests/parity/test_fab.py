"""FAB against the code of its authors: the examples broken within eps, the least distances, and the passes.

`pytest -s tests/parity/test_fab.py` prints the comparison.
"""

from __future__ import annotations

import math

import pytest
import torch
from bench.peers import MAKE_IT, Job, available, peers_of, run_peer, zoo_net
from torch import Tensor

from robustly.attacks.fab import fab, fab_t
from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Ledger, Model, Oracle
from robustly.steps import Attack, Case
from robustly.threats import L1, L2, Domain, Linf
from robustly.zoo.load import images, network

pytestmark = [
    pytest.mark.skipif(not available(), reason=f"the peers are not installed: {MAKE_IT}"),
    pytest.mark.slow,
]
UNIT = Domain(0.0, 1.0)
THREATS = {"linf": (Linf, 0.1), "l2": (L2, 1.5), "l1": (L1, 10.0)}
COUNT = 24
NAME = "fashion_adversarial"


@pytest.fixture(scope="module")
def subject() -> tuple[torch.nn.Module, Tensor, Tensor]:
    """A network with examples it reads correctly."""
    net, (x, y, _) = network(NAME), images("fashion")
    index = (net(x[:200]).argmax(1) == y[:200]).nonzero().squeeze(1)[:COUNT]
    return net, x[index], y[index]


def ours(subject, attack: Attack, threat, press_on: bool) -> Ledger:
    net, x, y = subject
    around, goal = threat.at(x, UNIT), Goal(y)
    oracle = Oracle(Model(net, UNIT, classes=10), around, goal, press_on=press_on)
    attack(Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(x))]), oracle))
    return oracle.ledger


def theirs(subject, name: str, norm: str, eps: float, steps: int, **options) -> tuple[Tensor, int, int]:
    """The distance of each point that the authors' code broke, inf where it broke none, and its passes."""
    if "authors" not in peers_of(name, norm):
        pytest.skip(f"the table of peers has no {name} of the authors under {norm}")
    net, x, y = subject
    done = run_peer(Job("authors", name, norm, **zoo_net(NAME), eps=eps, steps=steps, **options), x, y)
    everywhere = THREATS[norm][0](math.inf).at(x, UNIT)
    distance = torch.where(Goal(y).met(net(done.x)), everywhere.distance(done.x), math.inf)
    return distance, done.forward, done.backward


@pytest.mark.parametrize("norm", THREATS)
def test_the_same_examples_are_broken_within_eps(subject, norm):
    kind, eps = THREATS[norm]
    ledger = ours(subject, fab_t(100, 2), kind(eps), press_on=False)
    distance, forward, backward = theirs(subject, "fab_t", norm, eps, 100, options={"n_target_classes": 2})
    broken, they = ledger.hit.double().mean().item(), (distance <= eps * (1 + 1e-5)).double().mean().item()
    print(
        f"\n{norm}:{eps} broken: ours {broken:.3f} with {int(ledger.forward.sum())} F {int(ledger.backward.sum())} B, "
    )
    print(f"authors {they:.3f} with {forward} F {backward} B")
    assert broken >= they - 1.5 / COUNT
    assert ledger.forward.sum() <= forward
    assert ledger.backward.sum() <= backward


@pytest.mark.parametrize("norm", THREATS)
def test_least_distances_are_theirs_or_lower(subject, norm):
    ledger = ours(subject, fab_t(50, 1), THREATS[norm][0](math.inf), press_on=True)
    distance, *_ = theirs(subject, "fab_t", norm, math.inf, 50, options={"n_target_classes": 1})
    both = torch.isfinite(distance) & ledger.hit
    ratio = (ledger.distance / distance)[both]
    print(f"\n{norm} ours over authors: median {ratio.median():.4f}, mean {ratio.mean():.4f}")
    assert both.double().mean() > 0.9
    assert ledger.hit.sum() >= torch.isfinite(distance).sum() - 1
    assert ratio.median() < 1.005
    assert ratio.mean() < 1.02


def test_untargeted_least_distances_are_theirs_or_lower(subject):
    net, x, y = subject
    few = net, x[:10], y[:10]
    ledger = ours(few, fab(20), Linf(math.inf), press_on=True)
    distance, *_ = theirs(few, "fab", "linf", math.inf, 20)
    both = torch.isfinite(distance) & ledger.hit
    assert both.double().mean() > 0.9
    assert (ledger.distance / distance)[both].median() < 1.01
