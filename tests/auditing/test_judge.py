"""The referee: it believes nobody, re-runs the model, and measures in the units of the input."""

import pytest
import torch

from robustly.auditing.judge import VOTES, judge
from robustly.goals import Goal
from robustly.oracle import Access, Model
from robustly.threats import L1, L2, Domain, Linf

UNIT = Domain(0.0, 1.0)
X = torch.tensor([[0.4, 0.5], [0.4, 0.5], [0.4, 0.5], [0.4, 0.5]])
Y = torch.zeros(4, dtype=torch.int64)
Z = torch.tensor([[0.45, 0.5], [0.55, 0.5], [0.65, 0.5], [0.5, 0.5]])  # still right; wrong; wrong but too far; a tie


def normalised(z):
    """Class 0 where the first number is below 0.5, from inputs prepared as (z - 0.5) / 0.1."""
    first = (z[:, 0] - 0.5) / 0.1
    return torch.stack((-first, first), 1)


MODEL = Model(normalised, UNIT, classes=2)


def test_only_members_that_the_model_gets_wrong_hold():
    found = judge(MODEL, Linf(0.2).at(X, UNIT), Goal(Y), Z)
    assert found.holds.tolist() == [False, True, False, True]
    assert found.inside.tolist() == [True, True, False, True]
    assert found.tied.tolist() == [False, False, False, True]
    assert found.passes == 1


@pytest.mark.parametrize(("threat", "measure"), [(Linf, 1e9), (L2, 2), (L1, 1)])
def test_distance_is_in_input_units_whatever_the_preparation(threat, measure):
    z = X + torch.tensor([0.12, -0.05])
    expected = (0.12**measure + 0.05**measure) ** (1 / measure) if measure < 1e9 else 0.12
    for eps, inside in ((expected * 1.01, True), (expected * 0.99, False)):
        found = judge(MODEL, threat(eps).at(X, UNIT), Goal(Y), z)
        assert torch.allclose(found.distance, torch.full((4,), expected, dtype=torch.float64), atol=1e-6)
        assert found.inside.tolist() == found.holds.tolist() == [inside] * 4


def test_what_it_tells_is_what_the_model_says_there():
    found = judge(MODEL, Linf(0.2).at(X, UNIT), Goal(Y), Z)
    scores = normalised(Z).double()
    assert found.label.tolist() == scores.argmax(1).tolist()
    assert torch.allclose(found.margin, scores[:, 0] - scores[:, 1])
    assert torch.allclose(found.confidence, scores.softmax(1).amax(1))


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_an_answer_that_is_not_finite_holds(odd):
    lost = Model(lambda z: normalised(z) + torch.tensor([0.0, odd]), UNIT, classes=2)
    found = judge(lost, Linf(0.2).at(X, UNIT), Goal(Y), Z)
    assert found.odd.all()
    assert found.holds.tolist() == [True, True, False, True]
    assert not found.tied.any()


def test_labels_are_enough():
    labels = Model(lambda z: normalised(z).argmax(1), UNIT, Access.LABELS, classes=2)
    found = judge(labels, Linf(0.2).at(X, UNIT), Goal(Y), Z)
    assert found.holds.tolist() == [False, True, False, False]
    assert found.margin.isnan().all()


def test_a_target_must_be_reached():
    three = Model(lambda z: torch.cat((normalised(z), normalised(z)[:, 1:] - 1), 1), UNIT, classes=3)
    for target, holds in ((1, True), (2, False)):
        found = judge(three, Linf(0.2).at(X, UNIT), Goal(Y, torch.full((4,), target)), Z)
        assert bool(found.holds[1]) is holds


def test_a_random_model_is_outvoted():
    asked = []

    def mostly(z):
        asked.append(len(z))
        return normalised(z) if len(asked) % 3 else -normalised(z)  # wrong about itself every third time

    found = judge(Model(mostly, UNIT, classes=2), Linf(0.2).at(X, UNIT), Goal(Y), Z, random=True)
    assert len(asked) == found.passes == VOTES
    assert found.holds.tolist() == [False, True, False, True]
