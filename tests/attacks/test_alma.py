from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from robustly.attacks.alma import alma, dlr_plus, slope_of_penalty
from robustly.attacks.pgd import pgd
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.threats import L1, L2, Domain, Linf

from .small import small


def test_finds_nearer_points_than_pgd():
    problem = small()
    ledger = problem.run(alma(150), L2(math.inf), press_on=True)
    assert ledger.firm.all()
    assert (problem.model.ask(ledger.point).argmax(1) != problem.y).all()
    assert problem.run(pgd(60), L2(ledger.distance * 0.9)).firm.double().mean() < 0.2
    assert problem.run(pgd(60), L2(ledger.distance * 1.1)).firm.double().mean() > 0.6


def test_l1_changes_are_shorter_in_l1():
    problem = small()
    one, two = (problem.run(alma(200), norm(math.inf), press_on=True) for norm in (L1, L2))
    assert one.firm.all()
    assert one.distance.median() < (two.point - problem.x).flatten(1).abs().sum(1).median()


def test_slope_of_the_penalty():
    """P2 is mu y + mu rho y^2 + rho^2 y^3 / 6 above 0, and mu y / (1 - rho y) below."""
    y = torch.tensor([-3.0, -0.5, 0.0, 0.4, 2.0], requires_grad=True)
    rho, mu = torch.tensor(1.7), torch.tensor(0.6)
    above = mu * y + mu * rho * y**2 + rho**2 * y**3 / 6
    (expected,) = torch.autograd.grad(torch.where(y >= 0, above, mu * y / (1 - rho * y.clamp_max(0))).sum(), y)
    assert torch.allclose(slope_of_penalty(y.detach(), rho, mu), expected)
    assert slope_of_penalty(torch.tensor(0.0), rho, mu) == mu


def test_the_constraint_has_the_sign_of_the_margin_in_any_scale():
    scores = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    for goal in (Goal(torch.arange(50) % 5), Goal(torch.arange(50) % 5, (torch.arange(50) + 1) % 5)):
        value = dlr_plus(scores, goal)
        assert torch.equal(value.sign(), goal.margin(scores).sign())
        assert torch.allclose(dlr_plus(1000 * scores + 7, goal), value, rtol=1e-2, atol=1e-3)
    two = torch.tensor([[3.0, 1.0]])
    assert dlr_plus(two, Goal(torch.tensor([0]))).item() == pytest.approx(2.0, abs=1e-3)


def test_passes_target_and_a_finite_eps():
    problem = small()
    ledger = problem.run(alma(7), L2(math.inf), press_on=True)
    assert (ledger.forward.unique().tolist(), ledger.backward.unique().tolist()) == ([8], [7])
    within = problem.run(alma(80), L2(0.5))
    assert 4 <= within.firm.sum() < 24
    assert (within.distance[within.firm] <= 0.5 * (1 + 1e-6)).all()
    target = (problem.y + 1) % 4
    aimed = problem.run(alma(150), L2(math.inf), Goal(problem.y, target), press_on=True)
    assert aimed.firm.sum() >= 18
    assert torch.equal(problem.model.ask(aimed.point).argmax(1)[aimed.firm], target[aimed.firm])


def test_what_it_cannot_do_is_refused():
    problem = small()
    with pytest.raises(UsageError, match="can't walk in LinfBall; give it l2 or l1"):
        problem.run(alma(5), Linf(0.1))
    with pytest.raises(UsageError, match="bounded input range"):
        replace(problem, model=replace(problem.model, domain=Domain())).run(alma(5), L2(1.0))


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"length": 0.0}, {"multiplier": -1.0}, {"stiffness": math.inf}])
def test_settings_that_make_no_sense_are_refused(arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        alma(**arguments)
