"""An ensemble is one model: of one member that member itself, of several the mean it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.attacks.small import small

from robustly.adapters.ensemble import mean_gradients, mean_logits, mean_losses
from robustly.attacks.fab import fab_t
from robustly.attacks.pgd import pgd
from robustly.attacks.transferred import transferred
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.losses import cross_entropy
from robustly.oracle import Access, Model, Oracle, door
from robustly.steps import Case
from robustly.threats import Domain, Linf

KINDS = [mean_logits, mean_losses, mean_gradients]


@pytest.fixture(autouse=True)
def seeded():
    """The same inputs in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def members(count=3):
    """Linear softmax models of quite different scale, so that every kind of mean is another."""
    g = torch.Generator().manual_seed(3)
    weights = [4.0 ** (1 - i) * torch.randn(4, 36, generator=g) for i in range(count)]
    models = [
        Model(lambda z, w=w: z.flatten(1) @ w.T, Domain(0.0, 1.0), classes=4, name=f"m{i}", digest=str(i))
        for i, w in enumerate(weights)
    ]
    return models, weights


def gradients(model, x, y, press_on=True):
    oracle = door(model)(model, Linf(0.1).at(x, model.domain), Goal(y), press_on=press_on)
    return oracle.gradient(x, cross_entropy), oracle.ledger


@pytest.mark.parametrize("kind", KINDS)
def test_of_one_it_is_the_model_itself(kind):
    one = small()
    alone = kind(one.model)
    assert torch.equal(alone.ask(one.x), one.model.ask(one.x))
    plain, ledger = gradients(one.model, one.x, one.y)
    told, counted = gradients(alone, one.x, one.y)
    assert torch.allclose(told.value, plain.value)
    assert torch.equal(told.grad.sign(), plain.grad.sign())
    assert torch.equal(counted.forward, ledger.forward)
    assert torch.equal(counted.backward, ledger.backward)
    a, b = (one.run(transferred(m, pgd(10)), Linf(0.15)) for m in (one.model, alone))
    assert torch.equal(a.hit, b.hit)
    assert a.hit.any()


def test_each_mean_is_what_it_says():
    models, _ = members()
    x, y = torch.rand(7, 1, 6, 6), torch.arange(7) % 4
    each = [gradients(m, x, y)[0] for m in models]
    point = x.clone().requires_grad_()
    mean = torch.stack([m.call(point) for m in models]).mean(0)
    (of_logits,) = torch.autograd.grad(cross_entropy(mean, Goal(y)).sum(), point)
    expected = {
        mean_logits: of_logits,
        mean_losses: torch.stack([e.grad for e in each]).mean(0),
        mean_gradients: torch.stack([e.grad / e.grad.abs().mean((1, 2, 3), keepdim=True) for e in each]).mean(0),
    }
    found = {kind: gradients(kind(*models), x, y)[0] for kind in KINDS}
    for kind in KINDS:
        assert torch.allclose(found[kind].grad, expected[kind], rtol=1e-3, atol=1e-4), kind
        assert torch.allclose(found[kind].scores, mean.detach(), rtol=1e-4)
    assert torch.allclose(found[mean_losses].value, torch.stack([e.value for e in each]).mean(0))
    signs = [found[kind].grad.sign() for kind in KINDS]
    assert not torch.equal(signs[0], signs[1])
    assert not torch.equal(signs[1], signs[2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_of_the_ensemble_is_one_pass(kind):
    models, _ = members(2)
    x = torch.rand(5, 1, 6, 6)
    _, ledger = gradients(kind(*models), x, torch.zeros(5, dtype=torch.int64))
    assert (ledger.forward == 1).all()
    assert (ledger.backward == 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_attacks_that_ask_for_jacobians_and_rows_walk_on_it_too(kind):
    models, _ = members(2)
    whole = kind(*models)
    x = torch.rand(6, 1, 6, 6)
    y = whole.ask(x).argmax(1)
    one = replace(small(), model=whole, x=x, y=y)
    assert one.run(transferred(whole, fab_t(8, 2)), Linf(0.3)).hit.any()


def test_an_ensemble_breaks_all_its_members_more_often_than_one_of_them():
    models, _ = members()
    x = torch.rand(1500, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    y = torch.stack([m.ask(x).argmax(1) for m in models])
    x, y = x[(y == y[0]).all(0)], y[0][(y == y[0]).all(0)]

    def broken(surrogate):
        out = []
        for target in models:
            oracle = Oracle(target.granting(Access.LABELS), Linf(0.15).at(x, target.domain), Goal(y))
            key = keys.from_ids(0, [str(i) for i in range(len(x))])
            transferred(surrogate, pgd(20))(Case(oracle.around, oracle.goal, key, oracle))
            out.append(oracle.ledger.hit)
        return torch.stack(out).all(0).sum()

    assert broken(mean_gradients(*models)) > max(broken(m) for m in models)


def test_what_makes_no_ensemble_is_refused():
    models, _ = members(2)
    with pytest.raises(UsageError, match="at least one"):
        mean_logits()
    with pytest.raises(UsageError, match="share one range"):
        mean_losses(models[0], replace(models[1], domain=Domain(0.0, 255.0)))
    with pytest.raises(UsageError, match="share one number of classes"):
        mean_losses(models[0], replace(models[1], classes=5))
    with pytest.raises(UsageError, match="needs gradients"):
        mean_losses(models[0], models[1].granting(Access.SCORES))
    with pytest.raises(UsageError, match="needs scores"):
        mean_logits(models[0].granting(Access.LABELS))


def test_it_is_named_by_its_members_and_its_mean():
    models, _ = members(2)
    names = {kind(*models).digest for kind in KINDS}
    assert len(names) == 3
    assert mean_losses(*models).name == "mean_losses(m0, m1)"
