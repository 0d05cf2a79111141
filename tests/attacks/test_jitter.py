"""Jitter: its loss, its noise, and the shrinking of changes that succeeded."""

from __future__ import annotations

import pytest
import torch

from robustly.attacks.jitter import jitter, noisy, per_change
from robustly.attacks.noise import noise
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.losses import jitter as loss
from robustly.oracle import Answer, Oracle
from robustly.steps import Case
from robustly.steps.keyed import keyed
from robustly.threats import L0, L2, Linf

from .small import small


def test_the_loss_by_hand():
    scores, goal = torch.tensor([[2.0, -4.0, 0.0]]), Goal(torch.tensor([0]))
    e = torch.tensor([5.0, -10.0, 0.0]).exp()
    soft = e / e.sum()
    assert loss(scores, goal).item() == pytest.approx((soft - torch.tensor([1.0, 0, 0])).norm().item())
    targeted = goal.toward(torch.tensor([1]))
    assert loss(scores, targeted).item() == pytest.approx(-(soft - torch.tensor([0, 1.0, 0])).norm().item())


def test_the_scale_of_the_scores_does_not_matter():
    scores, goal = torch.randn(20, 5), Goal(torch.arange(20) % 5)
    assert torch.allclose(loss(1000 * scores, goal), loss(scores, goal), rtol=1e-4)
    assert torch.isfinite(loss(torch.zeros(20, 5), goal)).all()


def test_the_noise_is_of_the_deviation_asked_and_belongs_to_the_key():
    goal = keyed(Goal(torch.zeros(4000, dtype=torch.int64)), keys.from_ids(0, [str(i) for i in range(4000)]))
    scores = torch.tensor([1.0, -1.0, -1.0]).expand(4000, 3)
    away = noisy(0.1)(scores, goal).square().mean() - noisy(0.0)(scores, goal).square().mean()
    assert away.item() == pytest.approx(3 * 0.1**2, rel=0.1)
    some = torch.tensor([7, 3])
    assert torch.equal(noisy(0.1)(scores[some], goal.take(some)), noisy(0.1)(scores, goal)[some])


def test_each_step_draws_afresh():
    problem = small()
    still, moved = (problem.run(jitter(8, noise=n), Linf(0.05)) for n in (0.0, 0.5))
    assert not torch.equal(still.best_margin, moved.best_margin)


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)], ids=str)
def test_the_gradient_where_the_goal_is_met_is_that_of_loss_over_change(threat):
    problem = small()
    z = threat.at(problem.x, problem.model.domain).sample(keys.from_ids(3, [str(i) for i in range(len(problem.x))]))
    goal = Goal((problem.y + 1) % 4)  # met everywhere
    around = threat.at(problem.x, problem.model.domain)
    case = Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(z))]), Oracle(problem.model, around, goal))
    here = z.clone().requires_grad_()
    value = loss(problem.model.call(here), goal)
    (grad,) = torch.autograd.grad(value.sum(), here)
    found = per_change(case, z, Answer(value.detach(), grad, problem.model.ask(z)))
    here = z.clone().requires_grad_()
    whole = loss(problem.model.call(here), goal) / around.distance(here)
    (wanted,) = torch.autograd.grad(whole.sum(), here)
    assert torch.allclose(found.grad, wanted.float(), rtol=1e-3, atol=1e-5)
    assert torch.allclose(found.value, whole.detach().float(), rtol=1e-5)


def test_an_answer_that_does_not_meet_the_goal_stays_as_it_is():
    problem = small()
    around, goal = L0(3).at(problem.x, problem.model.domain), Goal(problem.y)
    case = Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(problem.x))]), None)
    answer = Answer(torch.ones(len(problem.x)), torch.ones_like(problem.x), problem.model.ask(problem.x))
    assert torch.equal(per_change(case, problem.x, answer).grad, answer.grad)


def test_breaks_much_more_than_noise():
    for threat in (Linf(0.1), L2(0.5)):
        assert small().run(jitter(20), threat).firm.sum() > 1.5 * small().run(noise(30), threat).firm.sum()


def test_passes_of_a_survivor():
    ledger = small().run(jitter(7), Linf(1e-4))
    assert ledger.forward.unique().tolist() == [8]
    assert ledger.backward.unique().tolist() == [7]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"noise": -1.0}, {"size": 0.0}])
def test_arguments_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError):
        jitter(**wrong)
