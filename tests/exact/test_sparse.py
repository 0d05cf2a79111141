"""The l1 and l0 attacks on models whose least distance is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.exact.closed_form import attacked, binary, multiclass, sphere, straddling

from robustly.attacks.apgd import apgd
from robustly.attacks.jsma import jsma
from robustly.attacks.pgd_l0 import pgd_l0
from robustly.attacks.sigma_zero import sigma_zero
from robustly.attacks.sparsefool import sparsefool
from robustly.attacks.square import square
from robustly.losses import margin
from robustly.steps import clean, per_target

MODELS = {"binary": binary, "multiclass": multiclass, "sphere": sphere}


@pytest.mark.parametrize("wider", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_apgd_is_exact_in_l1(name, wider):
    known = MODELS[name]()
    eps, above = straddling(known.distance["l1"])
    ledger = attacked(known, per_target(apgd(100, loss=margin, wider=wider)), "l1", eps)
    assert above.sum() > 5
    assert torch.equal(ledger.firm, above)


def test_square_never_breaks_what_cannot_be_broken_in_l1_and_comes_near():
    known = binary()
    eps, above = straddling(known.distance["l1"], 0.3)
    ledger = attacked(known, square(2000), "l1", eps)
    assert not ledger.firm[~above].any()
    assert ledger.firm[above].double().mean() > 0.6


def narrow():
    """A linear model whose domain is so narrow that one coordinate often isn't enough."""
    return binary(room=0.4, spread=0.2, bias=0.45)


def ball():
    """Outside a sphere, where the coordinates to change are the largest."""
    return sphere(room=6.0)


L0 = {
    "sigma_zero": (sigma_zero(150), 0.9),
    "pgd_l0": (pgd_l0(30, loss=margin), 0.9),
    "sparsefool": (sparsefool(), 0.9),
}


@pytest.mark.parametrize("name", L0)
def test_the_fewest_coordinates_of_a_linear_model(name):
    """Never fewer than the optimum, and as few, or one more, for nearly all."""
    attack, share = L0[name]
    known = narrow()
    least = known.distance["l0"]
    ledger = attacked(known, attack, "l0", torch.inf, press_on=True)
    assert ledger.firm.all()
    assert (ledger.distance >= least).all()
    assert (ledger.distance <= least + 1).double().mean() >= share
    assert (ledger.distance == least).double().mean() >= 0.5


@pytest.mark.parametrize(
    "attack",
    [sigma_zero(300, rate=0.1, threshold=0.02), pgd_l0(60, size=0.01, loss=margin, start=clean)],
    ids=["sigma_zero", "pgd_l0"],
)
def test_the_fewest_coordinates_of_a_sphere(attack):
    """Coordinates go to 0, far from their bounds: short steps; the optimum is a choice among all subsets."""
    known = ball()
    least = known.distance["l0"]
    ledger = attacked(known, attack, "l0", torch.inf, press_on=True)
    assert ledger.firm.all()
    assert (ledger.distance >= least).all()
    assert (ledger.distance <= least + 1).double().mean() >= 0.9


def test_jsma_finds_the_fewest_of_a_linear_model():
    """The same model with scores (-v, v), since JSMA is blind where the target's score is constant."""
    known = narrow()
    model = replace(known.model, call=lambda z: known.model.call(z) * 2 - known.model.call(z).sum(1, keepdim=True))
    ledger = attacked(replace(known, model=model), jsma(), "l0", torch.inf, press_on=True)
    least = known.distance["l0"]
    assert ledger.firm.all()
    assert (ledger.distance >= least).all()
    assert (ledger.distance == least).double().mean() > 0.8


@pytest.mark.parametrize("name", L0)
def test_within_a_finite_eps(name):
    """Nothing is found where there is nothing, most is found where the optimum has one coordinate to spare."""
    known = narrow()
    least = known.distance["l0"]
    attack, _ = L0[name]
    assert not attacked(known, attack, "l0", least - 1).hit.any()
    ledger = attacked(known, attack, "l0", least + 1)
    assert ledger.firm.double().mean() > 0.9
    assert (ledger.distance[ledger.firm] <= (least + 1)[ledger.firm]).all()
