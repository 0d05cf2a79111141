"""Attacks break exactly the examples whose exact distance is below eps."""

from __future__ import annotations

import pytest
import torch
from tests.exact.closed_form import Known, attacked, binary, multiclass, no_nearer, sphere, straddling

from robustly.attacks.apgd import apgd
from robustly.attacks.cw import cw
from robustly.attacks.fgsm import fgsm
from robustly.attacks.noise import noise
from robustly.attacks.pgd import pgd
from robustly.attacks.square import square
from robustly.losses import margin
from robustly.steps import clean, per_target

MODELS = {"binary": binary, "multiclass": multiclass, "sphere": sphere}


def breaks_exactly(known: Known, attack, norm: str) -> None:
    eps, above = straddling(known.distance[norm])
    ledger = attacked(known, attack, norm, eps)
    assert above.sum() > 5
    assert torch.equal(ledger.firm, above)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", MODELS)
def test_pgd_is_exact(name, norm):
    breaks_exactly(MODELS[name](), per_target(pgd(150, 0.04, loss=margin)), norm)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", MODELS)
def test_apgd_is_exact(name, norm):
    breaks_exactly(MODELS[name](), per_target(apgd(50, loss=margin)), norm)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_fgsm_is_exact_for_a_linear_model(norm):
    breaks_exactly(binary(), fgsm(), norm)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_never_breaks_what_cannot_be_broken_and_comes_near(norm):
    known = binary()
    eps, above = straddling(known.distance[norm], 0.15)
    ledger = attacked(known, square(1500), norm, eps)
    assert not ledger.firm[~above].any()
    assert ledger.firm[above].double().mean() > 0.9


def test_pgd_finds_the_fewest_coordinates():
    known = binary(room=0.4, spread=0.2, bias=0.45)  # so narrow that one coordinate often isn't enough
    least = known.distance["l0"]
    assert least.unique().numel() > 1
    assert attacked(known, pgd(loss=margin, start=clean), "l0", least).firm.all()
    assert not attacked(known, pgd(loss=margin, start=clean), "l0", least - 1).hit.any()


def test_fewest_coordinates_of_the_sphere_bound_every_attack():
    known = sphere()
    least = known.distance["l0"]
    assert not attacked(known, pgd(loss=margin), "l0", least - 1).hit.any()
    assert not attacked(known, apgd(40, margin), "l0", least - 1).hit.any()
    assert attacked(known, pgd(100, size=0.01, loss=margin, start=clean), "l0", least + 1).firm.double().mean() > 0.8


CLOSE = {  # cw walks in units of the domain, so the domain is narrow and the distances are not tiny
    "binary": lambda: binary(room=1.5),
    "multiclass": lambda: no_nearer(multiclass(room=5.0), 0.1),
    "sphere": lambda: sphere(room=6.0),
}


@pytest.mark.parametrize("name", CLOSE)
def test_cw_comes_near_the_least_distance(name):
    known = CLOSE[name]()
    ledger = attacked(known, per_target(cw(200, rate=0.004)), "l2", torch.inf, press_on=True)
    ratio = ledger.distance / known.distance["l2"]
    assert ledger.firm.all()
    assert ratio.min() >= 1 - 1e-6
    assert ratio.max() < 1.02


def test_cw_with_a_finite_eps_is_exact():
    known = sphere(room=6.0)
    eps, above = straddling(known.distance["l2"])
    ledger = attacked(known, cw(200, rate=0.004), "l2", eps)
    assert torch.equal(ledger.firm, above)
    assert ledger.forward[above].max() < ledger.forward[~above].min()  # a row ends once its evidence is in the ball


def test_distances_are_of_points_on_the_border():
    """The closed forms themselves: just inside them no random member is adversarial."""
    for name, make in MODELS.items():
        known = make()
        for norm in ("linf", "l2", "l1"):
            assert not attacked(known, noise(30), norm, known.distance[norm] * 0.999).hit.any(), (name, norm)
