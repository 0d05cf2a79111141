"""Targets in order of linearised distance."""

from __future__ import annotations

import pytest
import torch
from tests.exact.closed_form import DUAL, THREATS, multiclass

from robustly.attacks.pgd import pgd
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.losses import difference
from robustly.oracle import Oracle
from robustly.steps import Case, per_target
from robustly.steps.targets import nearest_targets, per_nearest_target, steepness


def case_of(known, norm="linf", eps=0.01, goal=None):
    around, goal = THREATS[norm](eps).at(known.x, known.model.domain), goal or Goal(known.y)
    oracle = Oracle(known.model, around, goal)
    return Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(known.x))]), oracle)


def linearised(known, norm):
    """Gap over dual norm of every class, inf for the label, from the weights themselves."""
    n = known.x[0].numel()
    w = known.model.ask(torch.eye(n)).T.double()
    scores = known.x.double() @ w.T
    reach = (w[known.y][:, None] - w[None]).norm(DUAL[norm], dim=2)
    return ((scores.gather(1, known.y[:, None]) - scores) / reach).scatter(1, known.y[:, None], torch.inf)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_order_is_that_of_the_exact_distances_of_a_linear_model(norm):
    known = multiclass(classes=7)
    order = nearest_targets(case_of(known, norm))
    exact = linearised(known, norm)
    assert torch.equal(order, exact.argsort(1)[:, :6])
    likely = known.model.ask(known.x).scatter(1, known.y[:, None], -torch.inf).argsort(1, descending=True)
    assert (order[:, 0] != likely[:, 0]).sum() > 3  # the likeliest class is not always the nearest


def test_it_costs_a_forward_pass_and_a_backward_pass_for_each_class_looked_at():
    known = multiclass(classes=7)
    for width, looked in ((3, 3), (9, 6)):
        case = case_of(known)
        case.oracle.clean_scores()
        assert nearest_targets(case, width).shape[1] == looked
        assert (case.oracle.ledger.forward == 2).all()
        assert (case.oracle.ledger.backward == looked + 1).all()


def test_the_only_class_to_go_for_is_not_ranked():
    case = case_of(multiclass(classes=2))
    assert torch.equal(nearest_targets(case).squeeze(1), 1 - case.goal.y)
    assert not case.oracle.ledger.backward.any()


def test_where_no_gradient_tells_the_likelier_comes_first():
    known = multiclass()
    case = case_of(known)
    flat = Oracle(known.model, case.around, case.goal)
    flat.jacobian = lambda z, labels, where=None: (case.oracle.scores(z), torch.zeros(*labels.shape, *z.shape[1:]))
    likely = known.model.ask(known.x).scatter(1, known.y[:, None], -torch.inf).argsort(1, descending=True)
    assert torch.equal(nearest_targets(case._replace(oracle=flat)), likely[:, :4])


def test_one_target_is_enough_where_the_border_is_straight():
    known = multiclass(classes=7)
    distance = known.distance["linf"]
    by_nearest, by_likeliest = case_of(known, eps=distance * 1.05), case_of(known, eps=distance * 1.05)
    per_nearest_target(pgd(20, loss=difference), 1)(by_nearest)
    per_target(pgd(20, loss=difference), 1)(by_likeliest)
    assert by_nearest.oracle.ledger.firm.all()
    assert not by_likeliest.oracle.ledger.firm.all()


def test_a_goal_with_a_target_keeps_it():
    known = multiclass()
    target = linearised(known, "linf").argsort(1)[:, 2]
    case = case_of(known, eps=5.0, goal=Goal(known.y, target))
    per_nearest_target(pgd(40), 1)(case)
    plain = case_of(known, eps=5.0, goal=Goal(known.y, target))
    pgd(40)(plain)
    assert torch.equal(case.oracle.ledger.best_margin, plain.oracle.ledger.best_margin)


def test_decided_rows_are_left_alone():
    known = multiclass()
    case = case_of(known, eps=5.0)
    case.oracle.ledger.firm[::2] = True
    per_nearest_target(pgd(3))(case)
    assert not case.oracle.ledger.forward[::2].any()
    assert case.oracle.ledger.forward[1::2].all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_steepness_is_the_dual_norm(norm):
    known = multiclass()
    around = THREATS[norm](0.1).at(known.x, known.model.domain)
    slope = torch.randn(known.x.shape, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(steepness(around, slope), slope.flatten(1).norm(DUAL[norm], dim=1), rtol=1e-5)


@pytest.mark.parametrize("wrong", [{"targets": 0}, {"width": 0}])
def test_counts_below_one_are_refused(wrong):
    with pytest.raises(UsageError, match="at least 1"):
        per_nearest_target(pgd(), **wrong)
