"""When evidence first came: the number of the forward pass that gave it."""

import pytest
import torch

from robustly.goals import Goal
from robustly.oracle import Ledger, Model, Oracle
from robustly.oracle.manner import Manner
from robustly.threats import Domain, Linf

UNIT = Domain(0.0, 1.0)
X = torch.tensor([[0.2], [0.4], [0.9]])
Y = torch.tensor([0, 0, 1])


def call(z):
    """Class 0 where the number is below 0.5."""
    return torch.cat((0.5 - z, z - 0.5), 1)


def oracle(chunk=0, **arguments):
    return Oracle(Model(call, UNIT, classes=2, chunk=chunk), Linf(0.2).at(X, UNIT), Goal(Y), **arguments)


def test_nothing_found_has_no_date():
    door = oracle()
    door.scores(X)
    assert door.ledger.first.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("press_on", [False, True])
def test_the_date_is_that_of_the_first_hit_and_stays(press_on):
    door = oracle(press_on=press_on)
    hit = X.clone()
    hit[1] = 0.59
    nearer = X.clone()
    nearer[1] = 0.55
    for z in (X, X, hit, nearer):
        door.scores(z)
    assert door.ledger.first.tolist() == [-1, 3, -1]
    assert door.ledger.forward.tolist() == [4, 4 if press_on else 3, 4]


def test_a_point_outside_the_set_has_no_date():
    door = oracle()
    z = X.clone()
    z[2] = 0.1  # wrong, but too far away
    door.scores(z)
    assert door.ledger.first.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("chunk", [0, 1, 2, 3, 4])
def test_of_several_points_asked_together_the_first_hit_counts_whatever_the_calls(chunk):
    door = oracle(chunk)
    points = torch.tensor([[0.3], [0.45], [0.59], [0.25], [0.55], [0.85]])
    door.propose(points, torch.tensor([0, 1, 1, 0, 1, 2]))
    assert door.ledger.first.tolist() == [-1, 2, -1]
    assert door.ledger.forward.tolist() == [2, 3, 1]


def test_answers_that_are_averaged_are_passes_too():
    door = oracle(manner=Manner(times=3))
    z = X.clone()
    z[1] = 0.59
    door.propose(torch.cat((X, z)), torch.tensor([0, 1, 2, 0, 1, 2]))
    assert door.ledger.first.tolist() == [-1, 6, -1]


def test_a_window_on_some_rows_dates_the_same_ledger():
    door = oracle()
    part = door.take(torch.tensor([1, 2]))
    part.scores(torch.tensor([[0.59], [0.85]]))
    assert isinstance(door.ledger, Ledger)
    assert door.ledger.first.tolist() == [-1, 1, -1]
