"""Attacks break exactly the examples whose exact distance is below eps."""

from __future__ import annotations

import pytest
import torch

from robustly.attacks.apgd import apgd
from robustly.attacks.cw import cw
from robustly.attacks.fgsm import fgsm
from robustly.attacks.pgd import pgd
from robustly.attacks.square import square
from robustly.losses import margin
from robustly.steps import per_target
from tests.exact.closed_form import Known, attacked, binary, multiclass, sphere, straddling

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


@pytest.mark.parametrize("make", [pgd, apgd])
@pytest.mark.parametrize("name", ["binary", "sphere"])
def test_fewest_coordinates(name, make):
    known = MODELS[name]()
    least = known.distance["l0"]
    assert least.unique().numel() > 2
    assert attacked(known, make(loss=margin), "l0", least).firm.all()
    assert not attacked(known, make(loss=margin), "l0", least - 1).hit.any()


@pytest.mark.parametrize("name", MODELS)
def test_cw_comes_near_the_least_distance(name):
    known = MODELS[name]()
    ledger = attacked(known, cw(steps=400, rate=0.02), "l2", torch.inf, press_on=True)
    ratio = ledger.distance / known.distance["l2"]
    assert ledger.firm.all()
    assert ratio.min() >= 1 - 1e-6
    assert ratio.max() < 1.02


def test_distances_are_of_points_on_the_border():
    """The closed forms themselves: just inside them no random member is adversarial."""
    for name, make in MODELS.items():
        known = make()
        for norm in ("linf", "l2", "l1"):
            from robustly.attacks.noise import noise

            assert not attacked(known, noise(200), norm, known.distance[norm] * 0.999).hit.any(), (name, norm)
