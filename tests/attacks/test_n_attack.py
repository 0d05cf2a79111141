from __future__ import annotations

import torch

from robustly.attacks.n_attack import _field, _points, _pull, n_attack
from robustly.core import keys
from robustly.goals import Goal
from robustly.losses import margin
from robustly.oracle import Access, Model, Oracle
from robustly.steps import Case
from robustly.threats import Domain, Linf

WAY = torch.randn(30, generator=torch.Generator().manual_seed(6))


def linear(z):
    return torch.stack((torch.full((len(z),), 50.0), (z.flatten(1) * WAY).sum(1)), 1)


def case_of(rows=20, eps=0.4):
    model = Model(linear, Domain(0.0, 1.0), Access.SCORES, classes=2)
    x = torch.full((rows, 30), 0.5)
    around, goal = Linf(eps).at(x, model.domain), Goal(torch.zeros(rows, dtype=torch.int64))
    oracle = Oracle(model, around, goal, press_on=True)
    return Case(around, goal, keys.from_ids(0, [str(i) for i in range(rows)]), oracle)


def test_the_mean_is_pulled_along_the_gradient():
    """On a linear model the cosine of the pull of M draws in n dimensions is that of sqrt(M / (M + n))."""
    case = case_of()
    field = _field(case.around)
    pull = _pull(case, field, torch.zeros(20, 1, 1, 30), 0.1, 150, 0, margin)
    cosine = torch.nn.functional.cosine_similarity(pull.flatten(1), WAY[None], dim=1)
    assert abs(cosine.mean() - (150 / 180) ** 0.5) < 0.05
    assert case.oracle.ledger.forward.unique().tolist() == [150]


def test_the_pull_does_not_feel_the_scale_of_the_scores():
    pulls = []
    for scale in (1.0, 1000.0):
        case = case_of()
        case.oracle.model = Model(lambda z, s=scale: s * linear(z), Domain(0.0, 1.0), Access.SCORES, classes=2)
        pulls.append(_pull(case, _field(case.around), torch.zeros(20, 1, 1, 30), 0.1, 20, 0, margin))
    assert torch.allclose(*pulls, rtol=1e-3, atol=1e-2)


def test_the_mean_zero_is_the_input_and_a_large_one_is_cut_off_at_eps():
    around = case_of(eps=0.1).around
    field = _field(around)
    zero, large = (_points(around, field, torch.full((20, 1, 1, 30), w)) for w in (0.0, 5.0))
    assert torch.allclose(zero, around.x, atol=1e-6)
    assert torch.allclose(large, around.high)


def test_a_find_ends_the_draws_of_a_step():
    case = case_of()
    oracle = Oracle(
        Model(lambda z: -linear(z), Domain(0.0, 1.0), Access.SCORES, classes=2), case.around, case.goal
    )  # every point is a find
    n_attack(200, samples=100)(case._replace(oracle=oracle))
    assert oracle.ledger.firm.all()
    assert oracle.ledger.forward.max() <= 16
