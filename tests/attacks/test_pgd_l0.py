from __future__ import annotations

import pytest
import torch

from robustly.attacks.pgd_l0 import pgd_l0
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.losses import margin
from robustly.steps import clean
from robustly.threats import L0, Domain, Linf

from .small import small

INF = float("inf")


def test_only_members_are_asked_and_a_wider_ball_breaks_more():
    problem = small((1, 8, 8))
    broken = []
    for eps in (1, 4, 16):
        ledger = problem.run(pgd_l0(), L0(eps))
        around = L0(eps).at(problem.x, problem.model.domain)
        assert all(around.contains(z).all() for z in problem.asked if len(z) == len(problem.x))
        broken.append(int(ledger.firm.sum()))
    assert broken[0] < broken[1] < broken[2]


def test_a_survivor_pays_one_walk():
    ledger = small().run(pgd_l0(7), L0(1))
    left = ~ledger.firm
    assert left.any()
    assert ledger.forward[left].unique().tolist() == [8]
    assert ledger.backward[left].unique().tolist() == [7]


def test_bisection_narrows_the_count():
    problem = small((1, 8, 8))
    ledgers = [problem.run(pgd_l0(20, n), L0(INF), press_on=True) for n in (2, 10)]
    assert ledgers[1].firm.all()
    assert ledgers[1].distance.mean() < ledgers[0].distance.mean()
    one_less = problem.run(pgd_l0(20), L0((ledgers[1].distance - 1).clamp_min(0)))
    assert one_less.firm.double().mean() < 0.6  # another start may do with one less


def test_steps_have_one_length_in_l1():
    """0.15 of the width a coordinate, shared as the gradient says, from a clean start: one coordinate is left."""
    problem = small((1, 6, 6))
    problem.run(pgd_l0(1, size=0.001, start=clean, loss=margin), L0(36), Goal(problem.y))
    moved = (problem.asked[-1] - problem.x[: len(problem.asked[-1])]).abs().flatten(1).sum(1)
    assert len(problem.asked[-1]) == len(problem.x)
    assert torch.allclose(moved, torch.full_like(moved, 0.001 * 36), rtol=0.02)


def test_goals_with_a_target():
    problem = small((1, 8, 8))
    target = (problem.y + 1) % 4
    ledger = problem.run(pgd_l0(), L0(INF), Goal(problem.y, target), press_on=True)
    assert ledger.firm.sum() > 12
    assert torch.equal(problem.model.ask(ledger.point).argmax(1)[ledger.firm], target[ledger.firm])


@pytest.mark.parametrize(
    ("arguments", "words"), [({"steps": 0}, "steps"), ({"binary_steps": 0}, "binary_steps"), ({"size": 0.0}, "size")]
)
def test_settings_that_make_no_sense_are_refused(arguments, words):
    with pytest.raises(UsageError, match=words):
        pgd_l0(**arguments)


def test_other_sets_are_refused():
    with pytest.raises(UsageError, match="l0"):
        small().run(pgd_l0(3), Linf(0.1))


def test_an_unbounded_domain_is_refused():
    problem = small()
    free = type(problem)(
        type(problem.model)(problem.model.call, Domain(), classes=4), problem.x, problem.y, problem.asked
    )
    with pytest.raises(UsageError, match="bounded input range"):
        free.run(pgd_l0(3), L0(3))
