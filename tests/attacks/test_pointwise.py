"""Pointwise keeps no change that it could undo, and asks a label for each."""

from __future__ import annotations

import math

import pytest
import torch

from robustly.attacks.pointwise import pointwise
from robustly.attacks.sigma_zero import sigma_zero
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle import Access, Model, Oracle
from robustly.steps import Case, in_turn
from robustly.threats import L0, L2, Domain
from robustly.zoo.load import images, network

UNIT = Domain(0.0, 1.0)
WEIGHTS = torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5, 0.25])


def votes(z):
    """Two classes: the second wins when the weights of the coordinates above one half sum up to more than 7.4."""
    total = ((z.flatten(1) > 0.5) * WEIGHTS).sum(1)
    return torch.stack([torch.full_like(total, 7.4), total], 1)


def run(attack, model, x, y, threat, key=0, access=Access.LABELS):
    around, goal = threat.at(x, UNIT), Goal(y)
    oracle = Oracle(model.granting(access), around, goal, press_on=True)
    attack(Case(around, goal, keys.from_ids(key, [str(i) for i in range(len(x))]), oracle))
    return oracle.ledger


def test_no_change_is_left_that_could_be_undone():
    x, y = torch.zeros(40, 6), torch.zeros(40, dtype=torch.int64)
    ledger = run(pointwise(queries=60), Model(votes, UNIT, classes=2), x, y, L0(math.inf))
    assert ledger.hit.all()
    changed = ledger.point > 0.5
    total = (changed * WEIGHTS).sum(1)
    assert (total > 7.4).all()
    least = torch.where(changed, WEIGHTS, torch.inf).amin(1)
    assert (total - least <= 7.4).all()  # without its least vote none of them wins
    assert ((ledger.point != 0) == changed).all()
    assert ledger.distance.min() == 2
    assert len(ledger.distance.unique()) > 1  # the order is random, and each has its own


def test_it_goes_on_from_the_point_that_the_ledger_has_and_thins_it_out():
    x, y, _ = images("fashion")
    net = network("fashion_plain")
    right = (net(x[:30]).argmax(1) == y[:30]).nonzero().squeeze(1)[:20]
    model = Model(net, UNIT, classes=10)
    first = run(sigma_zero(60), model, x[right], y[right], L0(math.inf), access=Access.GRADIENTS)
    both = run(
        in_turn(sigma_zero(60), pointwise(200)), model, x[right], y[right], L0(math.inf), access=Access.GRADIENTS
    )
    assert (both.distance <= first.distance).all()
    assert both.distance.sum() < first.distance.sum()
    assert ((both.forward - first.forward) <= 200).all()
    assert (both.backward == first.backward).all()


def test_the_budget_is_hard_and_no_query_is_wasted_once_none_can_go():
    x, y = torch.zeros(8, 6), torch.zeros(8, dtype=torch.int64)
    model = Model(votes, UNIT, classes=2)
    assert run(pointwise(queries=5), model, x, y, L0(math.inf)).forward.max() <= 5
    assert run(pointwise(queries=1000), model, x, y, L0(math.inf)).forward.max() < 100


def test_only_l0():
    with pytest.raises(UsageError, match="pointwise works in norm balls"):
        run(pointwise(), Model(votes, UNIT, classes=2), torch.zeros(1, 6), torch.tensor([0]), L2(1.0))
