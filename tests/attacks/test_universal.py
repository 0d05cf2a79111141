"""One change for many inputs."""

from __future__ import annotations

import pytest
import torch

from robustly.attacks.universal import universal
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.specs import entries
from robustly.goals import Goal
from robustly.oracle import Model, Oracle
from robustly.steps import Case
from robustly.threats import L0, L1, L2, Both, Domain, Linf


def shifted(count=30, n=10, classes=3):
    """Inputs of one class near its border in a common direction: one small change fools all of them."""
    g = torch.Generator().manual_seed(0)
    w = torch.randn(classes, n, generator=g)
    model = Model(lambda z: z.flatten(1) @ w.T, Domain(-3.0, 3.0), classes=classes)
    x = torch.randn(2000, n, generator=g) / 2
    scores = model.ask(x)
    gap = scores[:, 0] - scores[:, 1:].amax(1)
    x = x[(gap > 0.1) & (gap < 1.5)][:count]
    return model, x, Goal(torch.zeros(len(x), dtype=torch.int64))


def case_of(threat, press_on=True, goal=None):
    model, x, plain = shifted()
    goal = goal or plain
    around = threat.at(x, model.domain)
    oracle = Oracle(model, around, goal, press_on=press_on)
    return Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(x))]), oracle)


@pytest.mark.parametrize(("threat", "p"), [(Linf(0.1), torch.inf), (L2(0.2), 2), (L1(0.4), 1)], ids=str)
def test_one_change_fools_more_than_random_ones(threat, p):
    case = case_of(threat)
    found = universal(case, share=1.0, times=5)
    model, x = case.oracle.model, case.around.x
    assert found.change.shape == x.shape[1:]
    assert found.change.norm(p) <= threat.eps * (1 + 1e-6)
    z = (x + found.change).clamp(-3, 3)
    assert torch.equal(found.fooled, model.ask(z).argmax(1) != 0)
    least = torch.randn(200, x.shape[1], generator=torch.Generator().manual_seed(1))
    least = least / least.norm(p, dim=1, keepdim=True) * threat.eps
    chance = max((model.ask((x + v).clamp(-3, 3)).argmax(1) != 0).double().mean().item() for v in least)
    assert found.rate > 1.1 * chance


def test_one_change_fools_the_share_wanted():
    for threat in (Linf(0.4), L2(1.0), L1(2.5)):
        assert universal(case_of(threat), share=0.9).rate >= 0.9


def test_what_it_finds_on_the_way_is_evidence_input_by_input():
    case = case_of(L2(1.0))
    found = universal(case, share=1.0, times=3)
    assert case.oracle.ledger.hit[found.fooled].all()
    assert case.around.contains(case.oracle.ledger.point).all()


def test_the_same_keys_give_the_same_change():
    assert torch.equal(universal(case_of(Linf(0.3))).change, universal(case_of(Linf(0.3))).change)


def test_a_radius_too_small_fools_few_and_ends():
    found = universal(case_of(Linf(0.001)), times=2)
    assert found.rate < 0.2


def test_it_is_no_attack_of_the_registry():
    assert "universal" not in [e.name for e in entries("attack")]


MODEL, X, GOAL = shifted()


@pytest.mark.parametrize(
    ("threat", "settings", "goal", "press_on", "say"),
    [
        (L0(2), {}, GOAL, True, "linf, l2 and l1 balls"),
        (Both(Linf(0.1), L2(1.0)), {}, GOAL, True, "linf, l2 and l1 balls"),
        (Linf(float("inf")), {}, GOAL, True, "one finite eps"),
        (Linf(torch.linspace(0.1, 0.2, len(X))), {}, GOAL, True, "one finite eps"),
        (Linf(0.1), {}, GOAL.toward(GOAL.y + 1), True, "no target"),
        (Linf(0.1), {}, GOAL, False, "press_on=True"),
        (Linf(0.1), {"share": 0.0}, GOAL, True, "share"),
        (Linf(0.1), {"times": 0}, GOAL, True, "times"),
        (Linf(0.1), {"steps": 0}, GOAL, True, "steps"),
        (Linf(0.1), {"overshoot": -1.0}, GOAL, True, "overshoot"),
    ],
)
def test_what_it_cannot_do_is_refused(threat, settings, goal, press_on, say):
    with pytest.raises(UsageError, match=say):
        universal(case_of(threat, press_on, goal), **settings)
