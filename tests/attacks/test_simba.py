from __future__ import annotations

import math

import pytest
import torch

from robustly.attacks.simba import simba
from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Access, Model, Oracle
from robustly.steps import Case
from robustly.steps.bases import dct
from robustly.threats import L2, Domain, Linf

WAY = torch.randn(16, generator=torch.Generator().manual_seed(2))


def walked(attack, threat, rows=6):
    """The margins a linear model of 4 by 4 images gave, (queries, B), and the points asked."""
    seen = []

    def call(z):
        seen.append(z.clone())
        return torch.stack((torch.full((len(z),), 9.0), (z.flatten(1) * WAY).sum(1)), 1)

    model = Model(call, Domain(0.0, 1.0), Access.SCORES, classes=2)
    x = torch.full((rows, 1, 4, 4), 0.5)
    around, goal = threat.at(x, model.domain), Goal(torch.zeros(rows, dtype=torch.int64))
    oracle = Oracle(model, around, goal, press_on=True)
    attack(Case(around, goal, keys.from_ids(0, [str(i) for i in range(rows)]), oracle))
    points = torch.stack(seen)
    return 9.0 - (points.flatten(2) * WAY).sum(2), points


@pytest.mark.parametrize(("basis", "size"), [(None, 0.1), (dct, 0.1)])
def test_on_a_linear_model_every_direction_gains_what_it_can(basis, size):
    """After both sides of all 16 directions the margin is down by size * sum |<w, direction>| at least: where fewer points
    were needed the second round has begun."""
    attack = simba(33, size) if basis is None else simba(33, size, basis=basis)
    margins, points = walked(attack, L2(math.inf))
    vectors = torch.eye(16) if basis is None else dct(4, 4).vectors(torch.arange(16), 1).flatten(1)
    gain = size * (vectors @ WAY).abs().sum()
    assert (margins.amin(0) <= margins[0] - gain + 1e-4).all()
    assert (margins.amin(0) >= margins[0] - 2 * gain).all()
    lowest = margins.cummin(0).values
    assert (lowest[1:] <= lowest[:-1]).all()
    steps = (points[1:17] - points[:1]).flatten(2).norm(dim=2)  # within the first round
    assert (steps <= 4 * size + 1e-5).all()


def test_the_other_side_is_asked_only_where_the_first_does_not_help():
    margins, points = walked(simba(12, 0.1), L2(math.inf), rows=1)
    here, at = points[0], 1
    best = margins[0]
    while at < 11:
        change = (points[at] - here).flatten()
        assert (change != 0).sum() == 1
        if margins[at] < best:
            here, best, at = points[at], margins[at], at + 1
            continue
        assert torch.allclose((points[at + 1] - here).flatten(), -change, atol=1e-6)
        if margins[at + 1] < best:
            here, best = points[at + 1], margins[at + 1]
        at += 2


def test_each_example_has_its_own_order_and_low_frequencies_come_first():
    _, points = walked(simba(2), L2(math.inf))
    assert len(points[1].unique(dim=0)) > 2
    _, points = walked(simba(2, basis=dct), L2(math.inf))
    assert torch.allclose(points[1], (points[0] + 0.05), atol=1e-5)  # the only frequency below 1/8 of 4


def test_in_a_box_it_ends_at_the_corner():
    margins, points = walked(simba(33), Linf(0.1))
    assert torch.allclose(margins.amin(0), margins[0] - 0.1 * WAY.abs().sum(), atol=1e-4)
    assert torch.allclose((points[-1] - points[0]).abs().flatten(1).amax(1), torch.full((6,), 0.1), atol=1e-4)


def test_a_side_that_leads_nowhere_costs_no_query():
    """On black and white pixels one side of each direction is cut off, so that all 16 are through after 16 points."""
    seen = []

    def call(z):
        seen.append(z.clone())
        return torch.stack((torch.full((len(z),), 9.0), -z.flatten(1).sum(1) + 2 * z.flatten(1)[:, ::2].sum(1)), 1)

    model = Model(call, Domain(0.0, 1.0), Access.SCORES, classes=2)
    x = (torch.arange(32) % 3 == 0).float().view(2, 1, 4, 4)
    around, goal = L2(math.inf).at(x, model.domain), Goal(torch.zeros(2, dtype=torch.int64))
    oracle = Oracle(model, around, goal, press_on=True)
    simba(17, 0.1)(Case(around, goal, keys.from_ids(0, ["0", "1"]), oracle))
    for points in torch.stack(seen).unbind(1):
        assert len(points.unique(dim=0)) == 17
        tried = (points[1:] != points[0]).flatten(1).any(0)
        assert not ((points[1:] - points[:-1]).flatten(1) == 0).all(1).any()
        assert tried.all()
