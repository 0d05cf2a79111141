from __future__ import annotations

import math

import pytest
import torch

from robustly.attacks.deepfool import deepfool
from robustly.attacks.superdeepfool import superdeepfool
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.threats import L2, Linf

from .small import small


@pytest.mark.parametrize("targets", [1, 9])
def test_ends_nearer_than_deepfool(targets):
    problem = small()
    plain = problem.run(deepfool(targets=targets), L2(math.inf), press_on=True)
    ledger = problem.run(superdeepfool(targets=targets), L2(math.inf), press_on=True)
    assert ledger.firm.all()
    assert (ledger.distance <= plain.distance * (1 + 1e-6)).all()  # its first crossing is DeepFool's result
    assert ledger.distance.mean() < 0.98 * plain.distance.mean()
    assert (problem.model.ask(ledger.point).argmax(1) != problem.y).all()


def test_the_change_stands_upright_on_the_border():
    """The gradient of the margin at the point found is nearly parallel to the change, where no bound was met."""
    problem = small(low=-3.0, high=4.0)
    ledger = problem.run(superdeepfool(80), L2(math.inf), press_on=True)
    plain = problem.run(deepfool(), L2(math.inf), press_on=True)

    def cosine(point):
        z = point.clone().requires_grad_()
        (g,) = torch.autograd.grad(Goal(problem.y).margin(problem.model.answer(z)).sum(), z)
        return -torch.cosine_similarity(g.flatten(1), (point - problem.x).flatten(1))

    assert cosine(ledger.point).median() > 0.98
    assert cosine(ledger.point).mean() > cosine(plain.point).mean()


def test_rows_end_on_their_own():
    problem = small()
    ledger = problem.run(superdeepfool(200), L2(math.inf), press_on=True)
    assert ledger.forward.max() < 100
    assert len(ledger.forward.unique()) > 2


def test_target_and_a_finite_eps():
    problem = small()
    target = (problem.y + 1) % 4
    aimed = problem.run(superdeepfool(), L2(math.inf), Goal(problem.y, target), press_on=True)
    assert aimed.firm.sum() >= 18
    assert torch.equal(problem.model.ask(aimed.point).argmax(1)[aimed.firm], target[aimed.firm])
    within = problem.run(superdeepfool(), L2(0.8))
    assert 4 <= within.firm.sum() < 24


def test_what_it_cannot_do_is_refused():
    with pytest.raises(UsageError, match="can't walk in LinfBall; give it l2"):
        small().run(superdeepfool(5), Linf(1.0))


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"targets": 0}, {"overshoot": -0.1}])
def test_settings_that_make_no_sense_are_refused(arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        superdeepfool(**arguments)
