"""PGD with the steps of Adam."""

from __future__ import annotations

import pytest
import torch

from robustly.attacks.noise import noise
from robustly.attacks.pgd_adam import pgd_adam
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle import Oracle
from robustly.steps import Case
from robustly.steps.adam import adam
from robustly.threats import L0, L1, L2, Linf

from .small import small


def case_of(problem, threat):
    around, goal = threat.at(problem.x, problem.model.domain), Goal(problem.y)
    return Case(
        around, goal, keys.from_ids(0, [str(i) for i in range(len(problem.x))]), Oracle(problem.model, around, goal)
    )


@pytest.mark.parametrize("scale", [1.0, 1e-10])
def test_its_changes_are_those_of_the_paper(scale):
    """Algorithm 1 with its bias correction, written as weighted sums over the gradients in float64."""
    problem = small()
    case, step = case_of(problem, Linf(0.1)), adam()
    state = step.init(case, problem.x)
    g, grads = torch.Generator().manual_seed(0), []
    for count in range(1, 13):
        grads.append(torch.randn(problem.x.shape, generator=g) * scale)
        change, state = step.update(case, state, grads[-1])
        past = torch.stack(grads).double()
        mean, square = (
            (decay ** torch.arange(count - 1, -1, -1).double()).view(-1, 1, 1, 1, 1) * (1 - decay) / (1 - decay**count)
            for decay in (0.9, 0.999)
        )
        wanted = (mean * past).sum(0) / (square * past.square()).sum(0).sqrt()
        assert torch.allclose(change.double(), wanted, rtol=1e-3, atol=1e-5)


def test_the_first_change_is_the_sign():
    problem = small()
    case, step = case_of(problem, Linf(0.1)), adam()
    grad = torch.randn(problem.x.shape, generator=torch.Generator().manual_seed(0))
    change, _ = step.update(case, step.init(case, problem.x), grad)
    assert torch.allclose(change, grad.sign())


def test_no_gradient_is_no_change():
    problem = small()
    case, step = case_of(problem, Linf(0.1)), adam()
    change, state = step.update(case, step.init(case, problem.x), torch.zeros_like(problem.x))
    assert not change.any()
    assert torch.isfinite(step.update(case, state, problem.x)[0]).all()


def test_breaks_much_more_than_noise():
    assert small().run(pgd_adam(), Linf(0.1)).firm.sum() > 1.5 * small().run(noise(30), Linf(0.1)).firm.sum()


@pytest.mark.parametrize("threat", [L2(1.0), L1(1.0), L0(2)], ids=str)
def test_sets_in_which_its_direction_is_wrong_are_refused(threat):
    with pytest.raises(UsageError, match="linf balls"):
        small().run(pgd_adam(), threat)


def test_passes_of_a_survivor():
    ledger = small().run(pgd_adam(7), Linf(1e-4))
    assert ledger.forward.unique().tolist() == [8]
    assert ledger.backward.unique().tolist() == [7]


def test_arguments_that_make_no_sense_are_refused():
    with pytest.raises(UsageError, match="size"):
        pgd_adam(size=0.0)
