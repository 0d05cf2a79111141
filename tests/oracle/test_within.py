"""A window on a smaller set: what closes a row there, and where its finds land."""

import torch

from robustly.goals import Goal
from robustly.losses import cross_entropy
from robustly.oracle import Limits, Model, Oracle
from robustly.threats import Domain, Linf

UNIT = Domain(0.0, 1.0)
X = torch.tensor([[0.45], [0.45], [0.45]])
Y = torch.tensor([0, 0, 0])
AROUND = Linf(0.4).at(X, UNIT)
Z = torch.tensor([[0.55], [0.7], [0.4]])  # adversarial near, adversarial far, not adversarial


def call(z):
    """Class 0 below 0.5."""
    return torch.cat((0.5 - z, z - 0.5), 1)


def oracle(**arguments):
    return Oracle(Model(call, UNIT, classes=2), AROUND, Goal(Y), **arguments)


def smaller(door, eps=0.2):
    return door.within(door.around.resized(torch.full((len(door.around),), eps, dtype=torch.float64)))


def test_a_row_closes_where_evidence_lies_in_the_smaller_set_though_the_oracle_presses_on():
    door = oracle(press_on=True)
    part, found = smaller(door)
    part.scores(Z)
    assert part.open.tolist() == [False, True, True]
    assert not part.all_open
    assert door.all_open
    assert door.open.all()
    assert torch.allclose(found.distance, torch.tensor([0.1, torch.inf, torch.inf], dtype=torch.float64), atol=1e-6)
    assert part.scores(Z).any(1).tolist() == [False, True, True]
    assert door.ledger.forward.tolist() == [1, 2, 2]


def test_what_is_found_outside_the_smaller_set_lands_in_the_ledger_all_the_same():
    door = oracle(press_on=True)
    part, found = smaller(door)
    part.gradient(Z, cross_entropy)
    assert door.ledger.hit.tolist() == [True, True, False]
    assert door.ledger.backward.tolist() == [1, 1, 1]
    assert torch.allclose(door.ledger.distance[:2].float(), torch.tensor([0.1, 0.25]), atol=1e-6)
    assert found.firm.tolist() == [True, False, False]


def test_what_the_oracle_has_closed_the_window_has_too():
    door = oracle()
    part, found = smaller(door)
    part.scores(Z)
    assert part.open.tolist() == [False, False, True]
    assert found.firm.tolist() == [True, False, False]
    part, _ = smaller(oracle(press_on=True, limits=Limits(1)))
    part.scores(X)
    assert not part.open.any()


def test_some_rows_of_a_window_of_a_window():
    door = oracle(press_on=True)
    outer, wide = smaller(door, 0.3)
    inner, narrow = smaller(outer, 0.05)
    some = inner.take(torch.tensor([2, 1, 0]))
    some.scores(Z[[2, 1, 0]])
    assert wide.firm.tolist() == [True, True, False]
    assert not narrow.firm.any()
    assert inner.open.tolist() == outer.open.tolist() == [False, False, True]
    assert some.open.tolist() == [True, False, False]
    assert door.ledger.hit.tolist() == [True, True, False]


def test_all_open_follows_the_ledger():
    door = oracle()
    assert door.all_open
    door.scores(X)
    assert door.all_open
    door.scores(Z)
    assert not door.all_open
    assert door.take(torch.tensor([2])).all_open
    assert not oracle(limits=Limits(1), ledger=door.ledger).all_open
