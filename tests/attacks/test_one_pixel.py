from __future__ import annotations

import pytest
import torch

from robustly.attacks.one_pixel import Candidates, _children, one_pixel, painted
from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Access, Model, Oracle
from robustly.steps import Case
from robustly.threats import L0, Domain


def hidden(low=0.0, high=1.0):
    """Only the pixel (2, 3) counts: class 1 where both of its channels are high, and the nearer the better."""

    def call(z):
        unit = (z - low) / (high - low)
        near = (unit[:, :, 1:4, 2:5].mean((2, 3)) * torch.tensor([1.0, 0.2])).sum(1)
        good = (unit[:, :, 2, 3] > 0.7).all(1)
        return torch.stack((torch.full((len(z),), 1.0), near + good), 1)

    return Model(call, Domain(low, high), Access.SCORES, classes=2)


def run(attack, model, eps, rows=10):
    low, high = model.domain.low, model.domain.high
    x = torch.full((rows, 2, 6, 7), low)
    around, goal = L0(eps).at(x, model.domain), Goal(torch.zeros(rows, dtype=torch.int64))
    oracle = Oracle(model, around, goal)
    attack(Case(around, goal, keys.from_ids(0, [str(i) for i in range(rows)]), oracle))
    assert high > low
    return oracle.ledger


@pytest.mark.parametrize("units", [(0.0, 1.0), (-100.0, 155.0)])
def test_finds_the_one_pixel_that_counts(units):
    """One place of 42 and a colour in the upper 9 %: luck finds it in some 470 draws, evolution in far fewer."""
    ledger = run(one_pixel(400, population=40), hidden(*units), 2)
    assert ledger.firm.double().mean() >= 0.8
    assert (ledger.distance[ledger.firm] == 2).all()
    assert ledger.forward.median() < 300


def test_fewer_numbers_than_channels_change_fewer():
    ledger = run(one_pixel(200, population=20), hidden(), 1)
    assert not ledger.hit.any()  # both channels are needed


def test_a_find_ends_a_generation():
    ledger = run(
        one_pixel(200, population=100),
        Model(
            lambda z: torch.stack((-torch.ones(len(z)), torch.ones(len(z))), 1),
            Domain(0.0, 1.0),
            Access.SCORES,
            classes=2,
        ),
        2,
    )
    assert ledger.firm.all()
    assert ledger.forward.max() <= 16


def test_painting():
    x = torch.zeros(2, 2, 3, 4)
    pixels = torch.tensor([[0.5, 0.99, 5.0, 6.0], [0.0, 0.0, 7.0, 8.0]]).expand(2, -1, -1)
    out = painted(x, pixels, torch.tensor([1, 2]))
    assert (out[0] != 0).nonzero().tolist() == [[0, 1, 3], [1, 1, 3]]
    assert out[1, :, 0, 0].tolist() == [7, 8]
    assert out[1, :, 1, 3].tolist() == [5, 6]


def test_children_are_made_of_three_others():
    model = hidden()
    x = torch.zeros(5, 2, 6, 7)
    around, goal = L0(2).at(x, model.domain), Goal(torch.zeros(5, dtype=torch.int64))
    case = Case(around, goal, keys.from_ids(0, list("abcde")), Oracle(model, around, goal))
    parents = torch.tensor([0.30, 0.31, 0.33, 0.37, 0.45])  # no two sums of three of them agree
    state = Candidates(parents[None, :, None, None].expand(5, -1, 1, 4), torch.zeros(5, 5))
    children = _children(case, state, 3)
    for row in children[:, :, 0, 0]:
        for own, child in enumerate(row.tolist()):
            others = [parents[i].item() for i in range(5) if i != own]
            made = [a + 0.5 * (b - c) for a in others for b in others for c in others if len({a, b, c}) == 3]
            assert min(abs(child - m) for m in made) < 1e-6
    wild = state._replace(pixels=torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0])[None, :, None, None].expand(5, -1, 1, 4))
    assert ((_children(case, wild, 1) >= 0) & (_children(case, wild, 1) <= 1)).all()
