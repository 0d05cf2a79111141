"""Searches along a curve ask what they say, within the purse, and end where the labels change."""

import torch

from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Model, Oracle
from robustly.steps import Case
from robustly.steps.brackets import Bracket, bisect, until
from robustly.steps.spending import purse
from robustly.threats import L2, Domain

EDGE = torch.tensor([0.3, 0.6, 0.45])


def case_of():
    """Three rows on a line; row i meets the goal beyond EDGE[i], which its second number tells."""
    x = torch.stack((torch.zeros(3), EDGE), 1)
    model = Model(lambda z: torch.stack((torch.zeros(len(z)), z[:, 0] - z[:, 1]), 1), Domain(0.0, 1.0), classes=2)
    around, goal = L2(torch.inf).at(x, model.domain), Goal(torch.zeros(3, dtype=torch.int64))
    return Case(around, goal, keys.from_ids(0, list("abc")), Oracle(model, around, goal, press_on=True))


def line(rows, place):
    return torch.stack((place, EDGE[rows]), 1)


def test_bisection_ends_at_the_edge_of_each_row_and_within_its_purse():
    case, every = case_of(), torch.ones(3, dtype=torch.bool)
    found = bisect(case, line, Bracket(torch.ones(3), torch.zeros(3)), torch.full((3,), 1e-3), purse(case, 50), every)
    assert ((found.met - EDGE) >= 0).all()
    assert (found.met - found.missed <= 1e-3).all()
    assert (found.missed < EDGE).all()
    assert case.oracle.ledger.forward.tolist() == [10, 10, 10]
    again = bisect(case, line, Bracket(torch.ones(3), torch.zeros(3)), torch.zeros(3), purse(case, 4), every)
    assert case.oracle.ledger.forward.tolist() == [14, 14, 14]
    assert (again.met - again.missed == 2.0**-4).all()


def test_a_march_ends_at_the_first_place_that_hits_or_misses():
    case, every = case_of(), torch.ones(3, dtype=torch.bool)
    places = torch.tensor([0.2, 0.4, 0.5, 0.7]).expand(3, 4)
    place, found, asked = until(case, line, places, purse(case, 50), every, hit=True)
    assert (place.tolist(), found.all().item(), asked.tolist()) == ([1, 3, 2], True, [2, 4, 3])
    place, found, asked = until(case, line, places.flip(1), purse(case, 2), every, hit=False)
    assert (found.tolist(), asked.tolist()) == ([False, True, False], [2, 2, 2])
    assert case.oracle.ledger.forward.tolist() == [4, 6, 5]
