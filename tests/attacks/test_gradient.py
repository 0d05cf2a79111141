"""What holds for each attack that climbs a gradient: fgsm, rfgsm, bim, pgd, mifgsm, nifgsm, apgd."""

from __future__ import annotations

import pytest
import torch

from robustly.attacks.apgd import apgd
from robustly.attacks.fgsm import fgsm, rfgsm
from robustly.attacks.mifgsm import mifgsm, nifgsm
from robustly.attacks.noise import noise
from robustly.attacks.pgd import bim, pgd
from robustly.core.errors import AccessError, UsageError
from robustly.goals import Goal
from robustly.losses import dlr, margin, probability_margin
from robustly.oracle import Access
from robustly.threats import L0, L1, L2, Both, Linf, parse_threat

from .small import small

ATTACKS = {
    "fgsm": fgsm,
    "rfgsm": rfgsm,
    "bim": bim,
    "pgd": pgd,
    "mifgsm": mifgsm,
    "nifgsm": nifgsm,
    "apgd": apgd,
}
STEPS = {"fgsm": 1, "rfgsm": 1, "bim": 10, "pgd": 40, "mifgsm": 10, "nifgsm": 10, "apgd": 100}
LONG = [name for name, steps in STEPS.items() if steps > 1]


@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 4, 2), (20,), (2, 9)])
@pytest.mark.parametrize("threat", [Linf(0.15), L2(0.6)], ids=str)
@pytest.mark.parametrize("name", ATTACKS)
def test_breaks_much_more_than_noise(name, threat, shape):
    problem = small(shape)
    found = problem.run(ATTACKS[name](), threat).firm.sum()
    by_chance = problem.run(noise(20), threat).firm.sum()
    assert found >= 6
    assert found > 1.5 * by_chance


@pytest.mark.parametrize("name", ATTACKS)
def test_the_loss_rises(name):
    problem = small()
    ledger = problem.run(ATTACKS[name](), Linf(0.03))
    clean = Goal(problem.y).margin(problem.model.ask(problem.x))
    reached = ledger.best_margin
    assert (reached < clean - 0.02).double().mean() > 0.9


@pytest.mark.parametrize("name", ATTACKS)
def test_passes_of_a_survivor(name):
    ledger = small().run(ATTACKS[name](), Linf(1e-4))
    survivors = ~ledger.firm
    assert survivors.sum() > 20
    assert ledger.forward[survivors].unique().tolist() == [STEPS[name] + 1]
    assert ledger.backward[survivors].unique().tolist() == [STEPS[name]]


@pytest.mark.parametrize("name", ATTACKS)
def test_a_broken_row_is_not_asked_again(name):
    problem = small()
    ledger = problem.run(ATTACKS[name](), Linf(0.3))
    assert ledger.firm.any()
    assert sum(map(len, problem.asked)) == ledger.forward.sum()


def test_one_step_under_l1_moves_one_coordinate():
    problem = small()
    problem.run(fgsm(), L1(0.3))
    asked = torch.cat(problem.asked).flatten(1)
    moved = torch.stack([(z != problem.x.flatten(1)).sum(1).min() for z in asked])
    assert moved.max() == 1
    assert (moved == 1).sum() > 20


@pytest.mark.parametrize("name", LONG)
def test_a_single_step(name):
    ledger = small().run(ATTACKS[name](steps=1), Linf(0.25))
    assert ledger.forward.max() == 2
    assert ledger.backward.max() == 1
    if name == "apgd":  # the others take a tenth of eps
        assert ledger.firm.sum() >= 4


@pytest.mark.parametrize("name", LONG)
def test_no_steps_are_refused(name):
    with pytest.raises(UsageError, match="steps must be at least 1, got 0"):
        ATTACKS[name](steps=0)


@pytest.mark.parametrize("name", ATTACKS)
def test_eps_of_each_example(name):
    problem = small()
    eps = torch.where(torch.arange(24) % 2 == 0, 0.0, 0.35)
    ledger = problem.run(ATTACKS[name](), Linf(eps))
    assert not ledger.hit[::2].any()
    assert ledger.firm[1::2].sum() >= 4
    for z in problem.asked:
        if len(z) == 24:
            assert torch.equal(z[::2], problem.x[::2])


@pytest.mark.parametrize("name", ATTACKS)
def test_towards_a_target(name):
    problem = small()
    target = (problem.y + 1) % 4
    ledger = problem.run(ATTACKS[name](), Linf(0.5), Goal(problem.y, target))
    hits = ledger.firm
    assert hits.sum() >= 3
    assert torch.equal(problem.model.ask(ledger.point).argmax(1)[hits], target[hits])


@pytest.mark.parametrize("threat", [L1(2.0), L0(6), Both(Linf(0.3), L2(1.0)), parse_threat("linf:0.2@8bit")], ids=str)
@pytest.mark.parametrize("name", ["fgsm", "bim", "pgd", "apgd"])
def test_walks_in_every_smooth_set(name, threat):
    problem = small()
    problem = type(problem)(problem.model, (problem.x * 255).round() / 255, problem.y, problem.asked)
    ledger = problem.run(ATTACKS[name](), threat)
    assert ledger.firm.any()
    assert threat.at(problem.x, problem.model.domain).contains(ledger.point).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_masked_numbers_stay(name):
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[:, :, :3] = True
    problem = small()
    ledger = problem.run(ATTACKS[name](), Linf(0.6, mask))
    assert ledger.firm.any()
    assert all(torch.equal(z[..., 3:], x[..., 3:]) for z, x in zip(ledger.point, problem.x, strict=True))


@pytest.mark.parametrize("name", ATTACKS)
def test_any_input_range(name):
    """The same problem on 0..255 gives the same verdicts."""
    unit, wide = small(), small(low=0.0, high=255.0)
    a, b = unit.run(ATTACKS[name](), Linf(0.1)), wide.run(ATTACKS[name](), Linf(25.5))
    assert a.firm.any()
    assert (a.firm == b.firm).double().mean() > 0.9


@pytest.mark.parametrize("loss", [margin, dlr, probability_margin])
@pytest.mark.parametrize("name", ATTACKS)
def test_every_loss(name, loss):
    assert small().run(ATTACKS[name](loss=loss), Linf(0.25)).firm.sum() >= 6


@pytest.mark.parametrize("name", ATTACKS)
def test_texts_and_scores_alone_are_refused(name):
    problem = small()
    with pytest.raises(AccessError, match="needs gradients"):
        problem.granting(Access.SCORES).run(ATTACKS[name](), Linf(0.1))
    if name != "bim":
        with pytest.raises(UsageError, match="finite eps"):
            problem.run(ATTACKS[name](), L2(float("inf")))
