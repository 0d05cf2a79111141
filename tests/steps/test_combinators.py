"""Attacks made of attacks: what each one inside is given."""

import pytest
import torch
from tests.attacks.small import small

from robustly.attacks.pgd import pgd
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle import Limits, Model, Oracle
from robustly.steps import Case, in_turn, per_target, restarts
from robustly.threats import Domain, Linf

X = torch.tensor([[0.9, 0.5, 0.1, 0.3], [0.2, 0.4, 0.6, 0.8]])
Y = torch.tensor([0, 3])


def case():
    """Scores are the inputs themselves, so the order of the classes is plain to see."""
    around, goal = Linf(0.05).at(X, Domain(0.0, 1.0)), Goal(Y)
    oracle = Oracle(Model(lambda z: z * 1.0, Domain(0.0, 1.0), classes=4), around, goal)
    return Case(around, goal, keys.from_ids(0, ["a", "b"]), oracle)


def seen_by(attack_of):
    """The cases that the inner attack is given, and the ledger."""
    seen, whole = [], case()
    attack_of(seen.append)(whole)
    return seen, whole.oracle.ledger


def test_each_wrong_class_is_aimed_at_the_likeliest_first_and_never_the_true_one():
    seen, ledger = seen_by(per_target)
    assert torch.stack([c.goal.target for c in seen]).tolist() == [[1, 2], [3, 1], [2, 0]]
    assert all(torch.equal(c.goal.y, Y) for c in seen)
    assert ledger.forward.tolist() == [1, 1]


def test_a_goal_that_has_a_target_keeps_it():
    """Else the search would go for the likeliest classes, and what it finds there would count for nothing."""
    seen, whole = [], case()
    target = torch.tensor([2, 0])  # the least likely
    whole.oracle.goal = whole.goal.toward(target)
    per_target(seen.append, targets=1)(whole._replace(goal=whole.oracle.goal))
    assert [c.goal.target.tolist() for c in seen] == [target.tolist()]


@pytest.mark.parametrize(("targets", "made"), [(1, 1), (2, 2), (3, 3), (9, 3)])
def test_as_many_targets_as_asked_and_there_are(targets, made):
    assert len(seen_by(lambda inner: per_target(inner, targets))[0]) == made


def test_every_restart_target_and_turn_has_its_own_key():
    for attack_of in (lambda a: restarts(a, 3), per_target, lambda a: in_turn(a, a, a)):
        seen, _ = seen_by(attack_of)
        used = torch.cat([c.key for c in seen])
        assert len(seen) == 3
        assert len(used.unique(dim=0)) == 6


@pytest.mark.parametrize("make", [lambda: restarts(print, 0), lambda: per_target(print, 0)])
def test_none_are_refused(make):
    with pytest.raises(UsageError, match="at least 1, got 0"):
        make()


def test_restarts_abreast_are_the_same_restarts():
    """Same evidence for survivors and broken alike; the broken pay for what ran beside."""
    one = small()
    in_turn_ = one.run(restarts(pgd(5), 4), Linf(0.15), seed=3)
    abreast = one.run(restarts(pgd(5), 4, abreast=4), Linf(0.15), seed=3)
    assert 0 < in_turn_.hit.double().mean() < 1
    assert torch.equal(in_turn_.hit, abreast.hit)
    stood = ~in_turn_.hit
    assert torch.equal(in_turn_.forward[stood], abreast.forward[stood])
    assert torch.equal(in_turn_.backward[stood], abreast.backward[stood])
    assert torch.allclose(in_turn_.best_margin[stood], abreast.best_margin[stood])
    assert abreast.forward.sum() > in_turn_.forward.sum()


def test_restarts_abreast_keep_a_budget():
    one = small()
    around, goal = Linf(0.01).at(one.x, one.model.domain), Goal(one.y)
    oracle = Oracle(one.model, around, goal, limits=Limits(7))
    restarts(pgd(5), 4, abreast=4)(Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(one.x))]), oracle))
    assert oracle.ledger.forward.max() <= 7


def test_a_few_left_over_run_abreast_too():
    one = small()
    assert torch.equal(
        one.run(restarts(pgd(3), 5), Linf(0.02)).forward, one.run(restarts(pgd(3), 5, abreast=3), Linf(0.02)).forward
    )
