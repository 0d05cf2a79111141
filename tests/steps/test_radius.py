"""Bisection over eps: the least distances of models where they are known, and what it may cost."""

import pytest
import torch
from tests.exact.closed_form import attacked, binary, multiclass, sphere
from tests.laws.cases import inputs, row_model

from robustly.attacks.fgsm import fgsm
from robustly.attacks.pgd import pgd
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.losses import margin
from robustly.oracle import Model, Oracle
from robustly.steps import Case, in_turn, least_radius
from robustly.threats import L0, L1, L2, Both, Domain, Edits, Grid, Linf

UNIT = Domain(0.0, 1.0)


@pytest.mark.parametrize(("norm", "slack"), [("linf", 2e-3), ("l2", 2e-3), ("l1", 2e-3), ("l0", 0.0)])
@pytest.mark.parametrize("eps", [torch.inf, 30.0])
def test_the_least_distance_of_a_linear_model(norm, slack, eps):
    """One step to the linear maximum of the margin decides each radius exactly, so the bisection must find the least."""
    known = binary(bias=0.0)
    if norm == "l0" and eps == 30.0:
        eps = 9.0

    def exact(case):
        grad = case.oracle.gradient(case.around.x, margin, case.goal).grad
        case.oracle.scores(case.around.linear_max(grad))

    ledger = attacked(known, least_radius(exact, 24), norm, eps, press_on=True)
    assert ledger.hit.all()
    assert (ledger.distance >= known.distance[norm] - 1e-5).all()
    assert (ledger.distance <= known.distance[norm] * (1 + slack) + 1e-5).all()
    assert ledger.backward.max() <= 24


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_attack_of_fixed_radius_comes_near_the_least_distance(norm):
    known = sphere()
    ledger = attacked(known, least_radius(pgd(20, 0.2, margin), 14), norm, torch.inf, press_on=True)
    assert (ledger.distance >= known.distance[norm] - 1e-4).all()
    assert (ledger.distance / known.distance[norm]).median() < 1.02
    once = attacked(known, pgd(20, 0.2, margin), norm, 10.0, press_on=True)
    assert (once.distance / known.distance[norm]).median() > 1.1  # as it stands, it wanders


def test_rows_with_a_narrow_bracket_or_no_hope_cost_no_more():
    known = multiclass()
    ledger = attacked(known, least_radius(fgsm(margin), 200), "linf", torch.inf, press_on=True)
    assert ledger.hit.all()
    assert ledger.backward.max() < 40
    hopeless = attacked(known, least_radius(fgsm(margin), 50), "linf", 1e-3 * known.distance["linf"], press_on=True)
    assert not hopeless.hit.any()
    assert (hopeless.backward == 1).all()  # eps itself was tried, and there is nothing below it


def test_finds_known_already_are_where_it_starts():
    known = multiclass()
    start = attacked(known, fgsm(margin), "linf", 1.5 * known.distance["linf"], press_on=True)
    assert start.hit.float().mean() > 0.9
    alone = attacked(known, least_radius(fgsm(margin), 6), "linf", torch.inf, press_on=True)
    chained = attacked(
        known,
        in_turn(lambda case: case.oracle.scores(start.point), least_radius(fgsm(margin), 6)),
        "linf",
        torch.inf,
        press_on=True,
    )
    assert (chained.distance / known.distance["linf"]).median() < (alone.distance / known.distance["linf"]).median()


def test_without_pressing_on_a_row_ends_at_its_first_find():
    known = multiclass()
    ledger = attacked(known, least_radius(fgsm(margin), 8), "linf", 2 * known.distance["linf"])
    assert ledger.hit.all()
    assert (ledger.backward == 1).all()


@pytest.mark.parametrize(
    ("threat", "other"),
    [
        (Grid(Linf(1.0)), None),
        (Both(Linf(1.0), L2(0.3)), 0.3),
        (L0(16), None),
        (L1(8.0), None),
    ],
)
def test_every_sized_set(threat, other):
    model, x = row_model(), inputs(24)
    goal = Goal(model.ask(x).argmax(1))
    around = threat.at(x, UNIT)
    found = []
    for attack in (pgd(10, 0.2), least_radius(pgd(10, 0.2), 8)):
        oracle = Oracle(model, around, goal, press_on=True)
        attack(Case(around, goal, keys.from_ids(0, [str(i) for i in range(24)]), oracle))
        ledger = oracle.ledger
        assert around.contains(ledger.point)[ledger.hit].all()
        assert torch.equal(around.distance(ledger.point)[ledger.hit], ledger.distance[ledger.hit])
        found.append(ledger)
    both = found[0].hit & found[1].hit
    assert both.sum() > 3
    assert (found[1].distance[both]).mean() < (found[0].distance[both]).mean()
    if other is not None:
        assert (found[1].point - x).flatten(1).norm(dim=1).max() <= other + 1e-6


def test_what_has_no_radius_or_no_end_is_refused():
    with pytest.raises(UsageError, match="at least 1"):
        least_radius(pgd(), 0)
    texts = Edits(2).at(("ab",))
    oracle = Oracle(Model(lambda z: torch.zeros(len(z), 2)), texts, Goal(torch.zeros(1, dtype=torch.int64)))
    with pytest.raises(UsageError, match="norm ball"):
        least_radius(pgd())(Case(texts, oracle.goal, keys.from_ids(0, ["a"]), oracle))
    around = L2(torch.inf).at(torch.zeros(1, 3))
    oracle = Oracle(Model(lambda z: z), around, Goal(torch.zeros(1, dtype=torch.int64)))
    with pytest.raises(UsageError, match="bounded input range"):
        least_radius(pgd())(Case(around, oracle.goal, keys.from_ids(0, ["a"]), oracle))


def test_resized_is_the_set_of_that_eps():
    x = inputs(3)
    for threat, wider in ((Linf(0.1), Linf(0.3)), (L2(0.1), L2(0.3)), (Grid(Linf(0.1)), Grid(Linf(0.3)))):
        small, large = threat.at(x, UNIT), wider.at(x, UNIT)
        z = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        assert torch.equal(small.resized(large.eps).project(z), large.project(z))
        assert not torch.equal(small.project(z), large.project(z))
    unbounded = Linf(torch.inf).at(x, UNIT).resized(torch.full((3,), 0.1, dtype=torch.float64))
    assert torch.equal(unbounded.high, Linf(0.1).at(x, UNIT).high)
