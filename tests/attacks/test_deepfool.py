from __future__ import annotations

import math

import pytest
import torch

from robustly.attacks.deepfool import deepfool
from robustly.attacks.noise import noise
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.threats import L1, L2, Linf

from .small import small


@pytest.mark.parametrize("targets", [1, 2, 9])
@pytest.mark.parametrize("norm", [Linf, L2])
def test_finds_near_points_in_few_steps(norm, targets):
    problem = small()
    ledger = problem.run(deepfool(targets=targets), norm(math.inf), press_on=True)
    assert ledger.firm.all()
    assert (problem.model.ask(ledger.point).argmax(1) != problem.y).all()
    assert ledger.forward.max() <= 12
    assert not problem.run(noise(20), norm(ledger.distance)).hit.any()
    most = {Linf: 0.25, L2: 1.0}[norm]
    assert ledger.distance.median() < most


def test_what_it_pays():
    """One forward a point; a backward for each class looked at, and none of the classes twice."""
    problem = small()
    all_classes = problem.run(deepfool(), L2(math.inf), press_on=True)
    assert torch.equal(all_classes.backward, 4 * all_classes.forward)  # 4 classes, so no look at the clean scores
    two = problem.run(deepfool(targets=2), L2(math.inf), press_on=True)
    assert torch.equal(two.backward, 3 * (two.forward - 1))
    one = problem.run(deepfool(targets=1), L2(math.inf), press_on=True)
    assert torch.equal(one.backward, one.forward)
    assert problem.run(deepfool(1, targets=1), L2(1e-3)).forward.unique().tolist() == [2]


def test_the_nearest_class_not_the_next():
    """The runner-up's border is far, the border of a class with a low score is near."""
    problem = small()
    ledger = problem.run(deepfool(), L2(math.inf), press_on=True)
    next_only = problem.run(deepfool(targets=1), L2(math.inf), press_on=True)
    assert ledger.distance.mean() < next_only.distance.mean()


def test_a_row_ends_at_its_first_hit_and_a_flat_model_ends_at_once():
    problem = small()
    ledger = problem.run(deepfool(50), L2(math.inf), press_on=True)
    assert len(ledger.forward.unique()) > 1
    asked = list(problem.asked)
    assert len(asked[-1]) < len(asked[0])


def test_target_and_a_finite_eps():
    problem = small()
    target = (problem.y + 1) % 4
    aimed = problem.run(deepfool(), L2(math.inf), Goal(problem.y, target), press_on=True)
    assert aimed.firm.sum() >= 18
    assert torch.equal(problem.model.ask(aimed.point).argmax(1)[aimed.firm], target[aimed.firm])
    within = problem.run(deepfool(), L2(0.8))
    assert 4 <= within.firm.sum() < 24
    assert (within.distance[within.firm] <= 0.8 * (1 + 1e-6)).all()


def test_what_it_cannot_do_is_refused():
    with pytest.raises(UsageError, match="can't walk in L1Ball; give it linf or l2"):
        small().run(deepfool(5), L1(1.0))


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"targets": 0}, {"overshoot": -0.1}, {"overshoot": math.nan}])
def test_settings_that_make_no_sense_are_refused(arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        deepfool(**arguments)
