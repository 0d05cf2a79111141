"""MultiTargeted: what it finds and what it costs."""

from __future__ import annotations

import torch

from robustly.attacks.multitargeted import multitargeted
from robustly.attacks.noise import noise
from robustly.attacks.pgd import pgd
from robustly.losses import difference
from robustly.steps.targets import per_nearest_target
from robustly.threats import L2, Linf

from .small import small


def test_breaks_much_more_than_noise_and_what_one_run_of_pgd_does():
    for threat in (Linf(0.1), L2(0.5)):
        found = small().run(multitargeted(), threat).firm
        assert found.sum() > 1.5 * small().run(noise(30), threat).firm.sum()
        assert found.sum() >= small().run(pgd(20), threat).firm.sum()


def test_passes_of_a_survivor():
    ledger = small().run(multitargeted(10, targets=2, times=3), Linf(1e-4))
    assert ledger.forward.unique().tolist() == [2 + 2 * 3 * 11]  # clean scores, the ranking, the walks
    assert ledger.backward.unique().tolist() == [4 + 2 * 3 * 10]


def test_it_is_pgd_on_the_difference_per_nearest_target():
    whole = small().run(multitargeted(8, 2), Linf(0.05))
    parts = small().run(per_nearest_target(pgd(8, loss=difference), 2), Linf(0.05))
    assert torch.equal(whole.forward, parts.forward)
