from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from robustly.attacks.noise import noise
from robustly.core.errors import UsageError
from robustly.oracle import Access
from robustly.threats import L2, Linf

from .small import small


@pytest.mark.parametrize("shape", [(1, 6, 6), (20,)])
@pytest.mark.parametrize("threat", [Linf(0.8), L2(4.0)], ids=str)
def test_finds_what_lies_near_the_border(threat, shape):
    problem = small(shape)
    ledger = problem.run(noise(30), threat)
    assert ledger.firm.sum() >= 2
    assert (ledger.distance[ledger.firm] > 0).all()


def test_every_try_is_another_member():
    problem = small()
    around = Linf(0.01).at(problem.x, problem.model.domain)
    ledger = problem.run(noise(7), Linf(0.01))
    assert ledger.forward.max() == 7
    assert ledger.backward.sum() == 0
    points = [z for z in problem.asked if len(z) == 24]
    assert all(around.contains(z).all() for z in points)
    assert all((a != b).any() for a, b in pairwise(points))


def test_labels_are_enough():
    problem = small()
    asked = replace(problem.model, call=lambda z: problem.model.call(z).argmax(1), access=Access.LABELS)
    by_labels = replace(problem, model=asked).run(noise(30), Linf(0.8))
    assert by_labels.firm.sum() >= 2
    assert torch.equal(by_labels.firm, problem.run(noise(30), Linf(0.8)).firm)


def test_no_tries_are_refused():
    with pytest.raises(UsageError, match="tries must be at least 1, got 0"):
        noise(0)
