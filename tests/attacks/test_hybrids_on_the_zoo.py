"""A surrogate trained in another way cuts the queries of score attacks on a carried network: `pytest -s` prints the numbers."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from robustly.attacks.mifgsm import mifgsm
from robustly.attacks.prgf import prgf
from robustly.attacks.simba_ods import simba_ods
from robustly.attacks.square import square
from robustly.attacks.transfer_pgd import transfer_pgd
from robustly.attacks.transferred import transferred
from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Access, Model, Oracle
from robustly.steps import Attack, Case, in_turn
from robustly.steps.surrogates import from_surrogate
from robustly.threats import Domain, Linf
from robustly.zoo.load import images, network

pytestmark = pytest.mark.slow
UNIT, EPS, COUNT, QUERIES = Domain(0.0, 1.0), 0.2, 30, 200
SURROGATE = Model(network("fashion_plain"), UNIT, classes=10, name="fashion_plain")
STRONG = transfer_pgd(views=["di"], then=["ti", "momentum"])
PAIRS = [  # without a transferred start, and with one; the share of the passes that it may take
    (simba_ods(SURROGATE, QUERIES), simba_ods(SURROGATE, QUERIES, start=from_surrogate(SURROGATE, STRONG)), 0.8),
    (
        prgf(SURROGATE, QUERIES, samples=20),
        prgf(SURROGATE, QUERIES, samples=20, start=from_surrogate(SURROGATE, mifgsm())),
        0.7,
    ),
    (square(QUERIES), in_turn(transferred(SURROGATE, STRONG), square(QUERIES)), 1.0),
]


@pytest.mark.parametrize(("cold", "warm", "share"), PAIRS, ids=["simba_ods", "prgf", "square"])
def test_a_transferred_start_cuts_queries(cold: Attack, warm: Attack, share: float):
    net, (x, y, _) = network("fashion_adversarial"), images("fashion")
    rows = (net(x[:200]).argmax(1) == y[:200]).nonzero().squeeze(1)[:COUNT]
    x, y = x[rows], y[rows]
    means, medians, hits = [], [], []
    for attack in (cold, warm):
        around = Linf(EPS).at(x, UNIT)
        oracle = Oracle(Model(net, UNIT, classes=10).granting(Access.SCORES), around, Goal(y))
        attack(Case(around, oracle.goal, keys.from_ids(0, [str(i) for i in range(len(x))]), oracle))
        ledger = oracle.ledger
        means.append(float(ledger.forward.double().mean()))
        medians.append(float(torch.where(ledger.hit, ledger.forward.double(), torch.inf).median()))
        hits.append(int(ledger.hit.sum()))
    name = cast(str, cold.spec.name)  # type: ignore[attr-defined]
    print(f"\n{name}: hits {hits}, median queries to success {medians}, mean within {QUERIES} {means}")
    assert means[1] <= share * means[0]
    assert medians[1] <= medians[0]
    assert hits[1] >= hits[0] - 1
