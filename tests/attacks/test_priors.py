"""Score attacks with a surrogate's prior: what the prior is worth, what is asked, and what starts from a transferred point."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.attacks.small import small

from robustly.attacks.mifgsm import mifgsm
from robustly.attacks.pgd import pgd
from robustly.attacks.prgf import bias, directions, prgf
from robustly.attacks.simba_ods import simba_ods
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.rows import take
from robustly.goals import Goal
from robustly.oracle import Access, Limits, Oracle
from robustly.steps import Case
from robustly.steps.surrogates import from_surrogate
from robustly.threats import L2, Linf

HYBRIDS = [prgf, simba_ods]


@pytest.fixture(autouse=True)
def seeded():
    """The same inputs in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def noisy(model, scale):
    """A model whose scores are the other's and as much again of another network's."""
    g = torch.Generator().manual_seed(8)
    w = scale * torch.randn(4, 36, generator=g)
    return replace(model, call=lambda z: model.call(z) + z.flatten(1) @ w.T, name="noisy")


def run(one, attack, threat, index=None, queries=None):
    index = torch.arange(len(one.x)) if index is None else torch.tensor(index)
    around = threat.at(take(one.x, index), one.model.domain)
    oracle = Oracle(one.model.granting(Access.SCORES), around, Goal(one.y[index]), limits=Limits(queries))
    one.asked.clear()
    attack(Case(around, oracle.goal, keys.from_ids(0, [str(i) for i in index.tolist()]), oracle))
    return oracle.ledger


@pytest.mark.parametrize("threat", [Linf(0.2), L2(1.0)], ids=str)
@pytest.mark.parametrize("hybrid", HYBRIDS)
def test_only_scores_are_asked_and_the_surrogate_is_free(hybrid, threat):
    one = small()
    ledger = run(one, hybrid(small().model, 150), threat)
    assert ledger.hit.double().mean() > 0.8
    assert (ledger.backward == 0).all()
    assert ledger.forward.sum() == sum(map(len, one.asked))


@pytest.mark.parametrize("hybrid", HYBRIDS)
def test_the_budget_of_points_is_hard(hybrid):
    one = small()
    other = small().model
    for queries in (1, 2, 3, 13, 40, 65):
        assert run(one, hybrid(other, queries), Linf(0.01)).forward.max() <= queries
    assert run(one, hybrid(other, 40), Linf(0.01)).forward.min() >= 30
    assert run(one, hybrid(other, 200), Linf(0.01), queries=7).forward.max() <= 7


@pytest.mark.parametrize("hybrid", HYBRIDS)
def test_an_example_is_the_same_alone(hybrid):
    one = small()
    attack = hybrid(noisy(small().model, 0.3), 60)
    whole = run(one, attack, Linf(0.1))
    for index in ([0], [7, 3]):
        part = run(one, attack, Linf(0.1), index)
        assert torch.equal(part.forward, whole.forward[index])
        assert torch.allclose(part.best_margin, whole.best_margin[index], atol=1e-5)


@pytest.mark.parametrize("hybrid", HYBRIDS)
def test_a_good_surrogate_saves_queries_over_a_bad_one(hybrid):
    one, other = small(), small().model
    unrelated = replace(other, call=lambda z: other.call(z.flip(1, 2, 3).roll(3, 3) ** 2))
    good, bad = (run(one, hybrid(s, 300), Linf(0.12)) for s in (other, unrelated))
    assert good.forward.double().mean() < 0.7 * bad.forward.double().mean()
    assert good.hit.sum() >= bad.hit.sum()


@pytest.mark.parametrize("hybrid", HYBRIDS)
def test_a_transferred_start_saves_queries(hybrid):
    one, other = small(), noisy(small().model, 0.5)
    cold = run(one, hybrid(other, 200), Linf(0.15))
    warm = run(one, hybrid(other, 200, start=from_surrogate(other, mifgsm())), Linf(0.15))
    assert warm.forward.double().mean() < 0.5 * cold.forward.double().mean()
    assert warm.hit.sum() >= cold.hit.sum()


def test_from_surrogate_is_the_point_of_lowest_margin_where_the_surrogate_holds_too():
    one = small()
    around = Linf(0.02).at(one.x, one.model.domain)
    case = Case(
        around,
        Goal(one.y),
        keys.from_ids(0, [str(i) for i in range(len(one.x))]),
        Oracle(one.model, around, Goal(one.y)),
    )
    z = from_surrogate(one.model, pgd(20))(case)
    met = case.goal.met(one.model.ask(z))
    assert around.contains(z).all()
    before, after = (case.goal.margin(one.model.ask(p)) for p in (one.x, z))
    assert (~met).any()
    assert (after <= before).all()
    assert (after < before)[~met].double().mean() > 0.9
    assert (around.distance(z)[~met] > 0.9 * 0.02).double().mean() > 0.9
    assert not torch.equal(z[met], one.x[met]) or not met.any()
    assert (case.oracle.ledger.forward == 0).all()


def test_the_share_of_the_prior_is_that_of_the_paper():
    """Against the definition: lambda* minimises the loss of eq. 11, whose terms are those of theorem 2, over a fine grid."""
    n, q = 200, 10
    lambdas = torch.linspace(0, 1, 20001, dtype=torch.float64)
    for cosine in (0.0, 0.02, 0.1, 0.15, 0.2, 0.25, 0.3, 0.9, 1.0):
        a = torch.tensor(cosine, dtype=torch.float64).square()
        inner = lambdas * a + (1 - lambdas) / (n - 1) * (1 - a)
        square = lambdas.square() * a + (1 - lambdas).square() / (n - 1) ** 2 * (1 - a)
        gain = inner.square() / ((1 - 1 / q) * square + inner / q).clamp_min(1e-30)
        best = lambdas[gain.argmax()]
        assert abs(float(bias(torch.tensor([cosine]), n, q)) - float(best)) < 2e-3, cosine


def test_directions_have_the_share_of_the_prior():
    key = keys.from_ids(0, ["a", "b", "c"])
    prior = torch.randn(3, 2, 5)
    prior = prior / prior.flatten(1).norm(dim=1)[:, None, None]
    share = torch.tensor([0.0, 0.3, 1.0])
    ways = directions(key, prior, share, 8)
    assert torch.allclose(ways.flatten(2).norm(dim=2), torch.ones(3, 8), atol=1e-5)
    inner = (ways * prior[:, None]).flatten(2).sum(2)
    assert torch.allclose(inner, share.sqrt()[:, None].expand(-1, 8), atol=1e-5)
    assert not torch.allclose(ways[0, 0], ways[0, 1])


@pytest.mark.parametrize("hybrid", HYBRIDS)
def test_what_makes_no_attack_is_refused(hybrid):
    model = small().model
    with pytest.raises(UsageError, match="no gradients"):
        hybrid(model.granting(Access.SCORES))
    with pytest.raises(UsageError, match="queries"):
        hybrid(model, 0)
    with pytest.raises(UsageError, match="size"):
        hybrid(model, size=0.0)
    with pytest.raises(UsageError, match="finite eps"):
        run(small(), hybrid(model, 5), Linf(float("inf")))
