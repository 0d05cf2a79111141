"""Sign-OPT, GeoDA, SurFree, CGBA and circling: within budgets, masks, ranges and labels of any kind."""

from __future__ import annotations

import math

import pytest
import torch
from tests.attacks.small import small

from robustly.attacks.cgba import cgba
from robustly.attacks.circling import circling
from robustly.attacks.geoda import counts, geoda
from robustly.attacks.signopt import signopt
from robustly.attacks.surfree import lowest, surfree
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle import Access, Model, Oracle
from robustly.steps import Case
from robustly.threats import L0, L1, L2, Domain, Linf

WALKS = [
    (signopt, Linf),
    (signopt, L2),
    (geoda, Linf),
    (geoda, L2),
    (geoda, L1),
    (surfree, L2),
    (cgba, L2),
    (circling, L2),
]
EACH = pytest.mark.parametrize(("make", "threat"), WALKS, ids=[f"{m.__name__} {t.__name__}" for m, t in WALKS])


@EACH
def test_the_distance_falls_far_below_that_of_the_start(make, threat):
    problem = small().granting(Access.LABELS)
    start = problem.run(make(1), threat(math.inf), press_on=True)
    soon, late = (problem.run(make(q), threat(math.inf), press_on=True) for q in (40, 600))
    assert late.hit.all()
    assert (late.distance[start.hit] < start.distance[start.hit]).all()
    assert late.distance.median() < 0.9 * soon.distance.median()


@EACH
@pytest.mark.parametrize("queries", [1, 2, 7, 33, 150])
def test_a_budget_is_hard_for_each_example_whatever_was_paid_before(make, threat, queries):
    problem = small().granting(Access.LABELS)
    around, goal = threat(math.inf).at(problem.x, problem.model.domain), Goal(problem.y)
    oracle = Oracle(problem.model, around, goal, press_on=True)
    oracle.hits(problem.x[:3], torch.tensor([0, 1, 2]))
    before = oracle.ledger.forward.clone()
    make(queries)(Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(problem.x))]), oracle))
    spent = oracle.ledger.forward - before
    assert spent.max() <= queries
    assert spent.min() == queries or make is signopt  # which ends where no step helps at any nearness


@EACH
@pytest.mark.parametrize("label", [0, 1])
def test_a_model_that_always_says_the_same_ends_the_walk(make, threat, label):
    asked = []

    def same(z):
        asked.append(len(z))
        return torch.full((len(z),), label, dtype=torch.int64)

    x = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    model = Model(same, Domain(0.0, 1.0), access=Access.LABELS, classes=2)
    around, goal = threat(math.inf).at(x, model.domain), Goal(torch.zeros(4, dtype=torch.int64))
    oracle = Oracle(model, around, goal, press_on=True)
    make(120)(Case(around, goal, keys.from_ids(0, list("abcd")), oracle))
    assert oracle.ledger.forward.max() <= 120
    assert oracle.ledger.forward.sum() == sum(asked)
    assert oracle.ledger.hit.all() == (label == 1)
    if label:
        assert oracle.ledger.distance.max() < 0.1


@EACH
def test_a_mask_holds(make, threat):
    problem = small().granting(Access.LABELS)
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[:, :5] = True
    ledger = problem.run(make(150), threat(math.inf, mask), press_on=True)
    assert ledger.hit.any()
    assert torch.equal(ledger.point[:, ~mask], problem.x[:, ~mask])


@EACH
def test_a_range_of_no_width_is_no_endless_loop(make, threat):
    model = Model(
        lambda z: torch.stack((z.flatten(1).sum(1), 1 - z.flatten(1).sum(1)), 1), Domain(0.25, 0.25), classes=2
    )
    x = torch.full((2, 1, 3, 3), 0.25)
    around, goal = threat(math.inf).at(x, model.domain), Goal(model.ask(x).argmax(1))
    oracle = Oracle(model, around, goal, press_on=True)
    make(60)(Case(around, goal, keys.from_ids(0, list("ab")), oracle))
    assert oracle.ledger.forward.max() <= 60
    assert not oracle.ledger.hit.any()


@EACH
def test_a_finite_radius_ends_the_walk_at_the_first_point_inside(make, threat):
    problem = small().granting(Access.LABELS)
    least = problem.run(make(600), threat(math.inf), press_on=True).distance
    eps = 2 * float(least.median())
    ledger = problem.run(make(600), threat(eps))
    assert ledger.hit.sum() >= 0.5 * len(least)
    assert (ledger.distance[ledger.hit] <= eps * (1 + 1e-6)).all()
    assert ledger.forward[ledger.hit].double().mean() < 500


@EACH
def test_towards_a_target(make, threat):
    problem = small().granting(Access.LABELS)
    scores = small().model.ask(problem.x)
    target = scores.scatter(1, problem.y[:, None], -math.inf).argmax(1)
    pool = torch.rand(200, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    goal = Goal(problem.y, target)
    start = problem.run(make(100, pool=pool), threat(math.inf), goal, press_on=True)
    late = problem.run(make(700, pool=pool), threat(math.inf), goal, press_on=True)
    found = start.hit
    assert found.float().mean() > 0.5
    assert (goal.margin(small().model.ask(late.point))[found] < 1e-5).all()
    assert late.distance[found].median() < 0.97 * start.distance[found].median()


@EACH
def test_what_is_no_setting_is_refused(make, threat):
    for given in ({"queries": 0}, {"tries": 0}):
        with pytest.raises(UsageError, match=next(iter(given))):
            make(**given)
    with pytest.raises(UsageError, match="L0Ball"):
        small().run(make(10), L0(3))
    x = torch.zeros(1, 4)
    model = Model(lambda z: z[:, :2], Domain(), classes=2)
    around, goal = threat(1.0).at(x, model.domain), Goal(torch.zeros(1, dtype=torch.int64))
    with pytest.raises(UsageError, match="bounded"):
        make(10)(Case(around, goal, keys.from_ids(0, ["a"]), Oracle(model, around, goal)))


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (geoda, {"reduce": 0.5}), (geoda, {"rate": 0.0}), (geoda, {"size": 0.0}), (cgba, {"reduce": 0.0}), (cgba, {"tolerance": -1.0}),
        (cgba, {"directions": 0}), (circling, {"size": -1.0}), (circling, {"directions": 0}), (surfree, {"share": 0.0}),
        (surfree, {"angle": 90.0}), (surfree, {"directions": 0}), (surfree, {"tolerance": 0.0}), (signopt, {"rate": 0.0}),
        (signopt, {"near": 0.0}), (signopt, {"directions": 0}),
    ],
)  # fmt: skip
def test_each_setting_of_its_own_is_checked(make, given):
    with pytest.raises(UsageError, match=next(iter(given))):
        make(**given)


def test_geoda_plans_estimates_that_grow_and_fit_the_budget():
    for queries in (1, 60, 500, 2500, 20000):
        plan = counts(queries, 0.6)
        assert plan == sorted(plan)
        assert plan[0] <= 80
        assert sum(plan) + 25 * len(plan) <= queries * 1.02 + 25
    assert len(set(counts(5000, 1.0))) == 1


def test_surfree_keeps_the_lowest_frequencies():
    low = lowest(2, 4, 4, 0.5)
    assert low.shape == (2, 4, 4)
    assert low.sum() == 16
    assert low[0, 0, 0] == 1
    assert low[0, 3, 3] == 0
    assert lowest(1, 1, 1, 0.01).sum() == 1
