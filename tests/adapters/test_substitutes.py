"""A substitute learns what the target answers, asks no more than it may, and is the same again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attacks.small import small

from robustly.adapters.pupils import pupil
from robustly.adapters.substitutes import Door, knockoff, substitute
from robustly.attacks.pgd import pgd
from robustly.attacks.transferred import transferred
from robustly.core.errors import UsageError
from robustly.oracle import Access, Model
from robustly.threats import Domain, Linf

UNIT = Domain(0.0, 1.0)


def target(access=Access.LABELS, classes=3):
    """A linear model of 6 numbers, and a list of the batches it was asked."""
    w = 3 * torch.randn(classes, 6, generator=torch.Generator().manual_seed(2))
    asked = []

    def call(z):
        asked.append(z.detach().clone())
        return (z - 0.5) @ w.T

    return Model(call, UNIT, classes=classes, name="target").granting(access), asked


def inputs(count, seed=0):
    return torch.rand(count, 6, generator=torch.Generator().manual_seed(seed))


def agreement(learnt, model):
    x = inputs(400, 9)
    truth = model.ask(x)
    truth = truth if truth.dim() == 1 else truth.argmax(1)
    return float((learnt.model.ask(x).argmax(1) == truth).double().mean())


@pytest.mark.parametrize("access", [Access.LABELS, Access.SCORES])
def test_it_reads_as_the_target_does(access):
    model, asked = target(access)
    found = knockoff(model, inputs(400), 300, epochs=15)
    assert found.queries == sum(map(len, asked)) == 300
    assert agreement(found, model) > 0.85
    assert found.model.access is Access.GRADIENTS


def test_jacobian_augmentation_beats_its_seeds_alone():
    model, asked = target()
    alone = substitute(model, inputs(20), 20, rounds=1, epochs=40)
    asked.clear()
    grown = substitute(model, inputs(20), 320, rounds=5, epochs=40)
    assert grown.queries == sum(map(len, asked)) == 320
    assert grown.rounds == 5
    assert agreement(grown, model) > agreement(alone, model) + 0.03
    assert agreement(grown, model) > 0.85


def test_new_points_are_moves_of_size_lambda_along_the_signs():
    model, asked = target()
    x = 0.3 + 0.4 * inputs(12)
    substitute(model, x, 24, rounds=2, epochs=2, size=0.05)
    assert torch.equal(torch.cat(asked)[:12], x)
    moved = (torch.cat(asked)[12:] - x).abs()
    assert torch.allclose(moved, torch.full_like(moved, 0.05), atol=1e-6)


@settings(max_examples=12, deadline=None)
@given(queries=st.integers(1, 60), seeds=st.integers(1, 30), rounds=st.integers(1, 4))
def test_the_budget_is_never_exceeded(queries, seeds, rounds):
    model, asked = target()
    found = substitute(model, inputs(seeds), queries, rounds=rounds, epochs=1)
    assert found.queries == sum(map(len, asked)) <= queries
    asked.clear()
    found = knockoff(model, inputs(seeds), queries, epochs=1)
    assert found.queries == sum(map(len, asked)) == min(queries, seeds)


def test_the_same_seed_learns_the_same_and_the_global_state_stays():
    model, _ = target()
    before = torch.get_rng_state()
    runs = [substitute(model, inputs(10), 30, rounds=2, epochs=2, seed=s).model for s in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    answers = [m.ask(inputs(5)) for m in runs]
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])
    assert runs[0].digest == runs[1].digest != runs[2].digest


def test_a_door_asks_nothing_beyond_its_limit():
    model, asked = target()
    door = Door(model, 5)
    door.answers(inputs(3))
    with pytest.raises(UsageError, match="only 2 of 5"):
        door.answers(inputs(3))
    assert sum(map(len, asked)) == 3
    assert door.left == 2


def test_rows_are_paid_even_where_the_target_raises():
    def call(z):
        raise RuntimeError("down")

    door = Door(Model(call, UNIT, classes=3), 5)
    with pytest.raises(Exception, match="down"):
        door.answers(inputs(4))
    assert door.left == 1


def test_images_get_a_convolutional_network():
    kinds = {type(layer).__name__ for layer in pupil((1, 12, 12), 4, 0)}
    assert "Conv2d" in kinds
    assert "Conv2d" not in {type(layer).__name__ for layer in pupil((1, 6, 6), 4, 0)}
    assert pupil((3, 9, 8), 4, 0)(torch.rand(2, 3, 9, 8)).shape == (2, 4)
    assert pupil((7,), 4, 0)(torch.rand(2, 7)).shape == (2, 4)


def test_what_fools_the_substitute_fools_the_target():
    one = small()
    pool = torch.rand(400, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    learnt = knockoff(one.model, pool, 400, epochs=20)
    ledger = one.granting(Access.LABELS).run(transferred(learnt.model, pgd(20)), Linf(0.2))
    assert ledger.hit.double().mean() > 0.6
    assert (ledger.forward <= 1).all()


@pytest.mark.parametrize("learn", [substitute, knockoff])
def test_what_cannot_be_learnt_from_is_refused(learn):
    model, _ = target()
    with pytest.raises(UsageError, match="queries must be"):
        learn(model, inputs(3), 0)
    with pytest.raises(UsageError, match="at least one"):
        learn(model, inputs(0), 5)
    with pytest.raises(UsageError, match="isn't known"):
        learn(replace(model, classes=None), inputs(3), 5)
    with pytest.raises(UsageError, match="not finite"):
        learn(model, inputs(3) * float("nan"), 5)
    with pytest.raises(UsageError, match="epochs"):
        learn(model, inputs(3), 5, epochs=0)
