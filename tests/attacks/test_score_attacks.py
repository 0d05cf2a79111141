"""What every attack on scores alone must do: find, cost what it says, ask members only, and read nothing but scores."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
import torch

from robustly.attacks.bandits import bandits
from robustly.attacks.genattack import genattack
from robustly.attacks.n_attack import n_attack
from robustly.attacks.nes import nes
from robustly.attacks.noise import noise
from robustly.attacks.one_pixel import one_pixel
from robustly.attacks.pixle import pixle
from robustly.attacks.simba import simba
from robustly.attacks.spsa import spsa
from robustly.attacks.square import square
from robustly.attacks.zoo import zoo
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle import Access, Model
from robustly.steps.bases import dct
from robustly.threats import L0, L2, Linf, parse_threat

from .small import Small, small

MAKE = {
    "nes": lambda q: nes(q, samples=20),
    "spsa": lambda q: spsa(q, samples=20),
    "bandits": lambda q: bandits(q, side=0),
    "n_attack": lambda q: n_attack(q, samples=20, rate=0.1),
    "genattack": genattack,
    "simba": simba,
    "simba dct": lambda q: simba(q, basis=dct),
    "zoo": lambda q: zoo(q, width=8, binary_steps=1, rate=0.03, initial_const=1.0),
    "square": square,
    "pixle": lambda q: pixle(q, width=3),
    "one_pixel": lambda q: one_pixel(q, population=20),
}
DENSE = [name for name in MAKE if name not in ("pixle", "one_pixel")]
FIXED = ("nes", "spsa", "bandits", "n_attack", "genattack", "square", "one_pixel")
"""Attacks that need a finite eps."""


def threats(name, shape):
    if name in ("pixle", "one_pixel"):
        return [L0(math.prod(shape) // 10)]
    return [L2(0.1 * math.prod(shape) ** 0.5)] if name == "zoo" else [Linf(0.15), L2(0.1 * math.prod(shape) ** 0.5)]


@cache
def luck(shape, name, size):
    """How many examples as many random points break."""
    return int(small(shape).run(noise(150), {"l0": L0, "l2": L2, "linf": Linf}[name](size)).firm.sum())


def sealed(problem: Small) -> Small:
    """The problem with a model that grants scores, has no module, and raises wherever a graph could come to be."""

    def call(z):
        assert not z.requires_grad
        assert not torch.is_grad_enabled()
        return problem.model.call(z)

    model = Model(call, problem.model.domain, Access.SCORES, classes=4)
    assert model.module is None
    return replace(problem, model=model)


@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 4, 5), (20,)], ids=str)
@pytest.mark.parametrize("name", MAKE)
def test_breaks_more_than_luck_does_and_reads_scores_alone(name, shape):
    """In l0 a few random numbers at random places break most of these examples already."""
    problem = sealed(small(shape))
    for threat in threats(name, shape):
        ledger = problem.run(MAKE[name](150 if name != "zoo" else 600), threat)
        more = 0.6 if isinstance(threat, L0) else 1.5
        assert ledger.firm.sum() >= 8
        assert ledger.firm.sum() > more * luck(shape, threat.name, threat.eps)
        assert ledger.backward.sum() == 0
        assert ((ledger.first > 0) == ledger.hit).all()
        assert (ledger.first <= ledger.forward).all()


@pytest.mark.parametrize("queries", [1, 2, 21, 64])
@pytest.mark.parametrize("name", [n for n in MAKE if n != "zoo"])
def test_a_survivor_costs_its_queries(name, queries):
    threat = L0(0) if name in ("pixle", "one_pixel") else Linf(1e-4)
    ledger = small().run(MAKE[name](queries), threat)
    assert ledger.forward[~ledger.firm].unique().tolist() == [queries]


@pytest.mark.parametrize("name", MAKE)
def test_only_members_are_asked_unless_the_walk_is_in_the_domain(name):
    problem = small()
    for threat in threats(name, (1, 6, 6)):
        problem.run(MAKE[name](60), threat, press_on=True)
        around = threat.at(problem.x, problem.model.domain)
        everyone = torch.arange(len(problem.x))
        for z in problem.asked:
            assert ((z >= 0) & (z <= 1)).all()
            if name != "zoo" and len(z) % len(everyone) == 0:
                assert around.take(everyone.repeat(len(z) // len(everyone))).contains(z).all()


@pytest.mark.parametrize("name", DENSE)
def test_masked_numbers_stay_and_the_others_find(name):
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[:, 1:5, :4] = True
    problem = small()
    threat = (L2 if name in ("zoo", "simba dct") else Linf)(1.5 if name in ("zoo", "simba dct") else 0.8, mask)
    ledger = problem.run(MAKE[name](400), threat, press_on=True)  # so that all are asked each time
    assert ledger.firm.any()
    for z in problem.asked:
        each = z.unflatten(0, (-1, len(problem.x)))
        assert torch.equal(each[..., ~mask[0]], problem.x[..., ~mask[0]].expand_as(each[..., ~mask[0]]))


@pytest.mark.parametrize("name", MAKE)
def test_a_target_is_what_is_reached(name):
    problem = small()
    target = (problem.y + 1) % 4
    threat = L0(20) if name in ("pixle", "one_pixel") else L2(1.8)
    ledger = problem.run(MAKE[name](600), threat, Goal(problem.y, target))
    assert ledger.firm.sum() >= 3
    assert torch.equal(problem.model.ask(ledger.point).argmax(1)[ledger.firm], target[ledger.firm])


@pytest.mark.parametrize("name", MAKE)
def test_more_queries_find_no_less(name):
    problem = small()
    threat = threats(name, (1, 6, 6))[-1]
    few, many = (problem.run(MAKE[name](n), threat).best_margin for n in (10, 300))
    assert (many < few - 1e-6).double().mean() > 0.6
    assert (many < few + 0.3).double().mean() > 0.9


@pytest.mark.parametrize("name", FIXED)
def test_an_infinite_eps_is_refused_where_there_is_no_walk_in_it(name):
    with pytest.raises(UsageError, match="finite eps"):
        small().run(MAKE[name](5), L0(float("inf")) if name == "one_pixel" else L2(float("inf")))


@pytest.mark.parametrize("name", [n for n in MAKE if n not in FIXED])
def test_the_others_find_the_nearest_they_can_with_an_infinite_eps(name):
    threat = L0(float("inf")) if name == "pixle" else L2(float("inf"))
    problem = small()
    ledger = problem.run(MAKE[name](400), threat, press_on=True)
    assert ledger.firm.double().mean() > 0.8
    assert torch.isfinite(ledger.distance[ledger.firm]).all()
    assert (ledger.distance[ledger.firm] > 0).all()


@pytest.mark.parametrize("name", ["simba", "simba dct", "genattack"])
def test_on_a_grid(name):
    problem = small()
    problem = replace(problem, x=(problem.x * 255).round() / 255)
    ledger = problem.run(MAKE[name](300), parse_threat("linf:40/255@8bit"))
    assert ledger.firm.any()
    assert torch.allclose(ledger.point * 255, (ledger.point * 255).round(), atol=1e-3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nes(0), "queries"),
        (lambda: nes(sigma=0.0), "sigma"),
        (lambda: nes(samples=0), "samples"),
        (lambda: spsa(delta=-1.0), "delta"),
        (lambda: bandits(side=-1), "side"),
        (lambda: n_attack(rate=0.0), "rate"),
        (lambda: n_attack(samples=0), "samples"),
        (lambda: genattack(population=1), "population"),
        (lambda: genattack(mutation=1.5), "mutation"),
        (lambda: simba(queries=0), "queries"),
        (lambda: simba(size=-0.1), "size"),
        (lambda: zoo(width=0), "width"),
        (lambda: zoo(confidence=-1.0), "confidence"),
        (lambda: pixle(width=1), "width"),
        (lambda: pixle(tries=0), "tries"),
        (lambda: one_pixel(population=3), "population"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, words):
    with pytest.raises(UsageError, match=words):
        make()


@pytest.mark.parametrize(
    ("name", "threat"), [("nes", L0(3)), ("n_attack", L0(3)), ("genattack", L0(3)), ("simba", L0(3)), ("pixle", L2(1))]
)
def test_other_sets_are_refused(name, threat):
    with pytest.raises(UsageError, match="give it"):
        small().run(MAKE[name](5), threat)


@pytest.mark.parametrize("name", [n for n in MAKE if n not in ("square", "pixle")])
def test_an_unbounded_domain_is_refused(name):
    problem = small(low=-math.inf, high=math.inf)
    x = torch.zeros(24, 1, 6, 6)
    with pytest.raises(UsageError, match="bounded"):
        replace(problem, x=x).run(MAKE[name](5), L0(3) if name == "one_pixel" else L2(1.0))
