"""The sweep against brute force, its order, its bill, and what a few random members find of it."""

import pytest
import torch

from robustly.attacks.noise import noise
from robustly.attacks.pgd import pgd
from robustly.attacks.sweep import sweep, worst_of
from robustly.core.errors import UsageError
from robustly.oracle import Access
from robustly.threats import Colour, Corrupt, Flow, Linf, Rotate, Shift, Ssim

from .small import small

THREATS = [Rotate(40, step=4), Rotate(20, shift=1, step=10), Shift(2), Corrupt(5)]


def brute(problem, threat):
    """The size of the smallest change that breaks each example, infinite where none does: every member asked at once."""
    around = threat.at(problem.x, problem.model.domain)
    out = torch.full((len(problem.x),), torch.inf, dtype=torch.float64)
    for n in reversed(range(around.count)):
        wrong = problem.model.ask(around.member(n)).argmax(1) != problem.y
        out = torch.where(wrong, around.size_of(n), out)
    return out


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_it_breaks_what_brute_force_breaks_by_the_smallest_change(threat):
    problem = small()
    expected = brute(problem, threat)
    ledger = problem.run(sweep(), threat)
    assert torch.equal(ledger.hit, torch.isfinite(expected))
    assert torch.equal(ledger.distance[ledger.hit], expected[ledger.hit])
    assert ledger.hit.any()


def test_it_stops_at_the_first_and_asks_all_where_there_is_none():
    problem = small()
    around = Rotate(40, step=4).at(problem.x, problem.model.domain)
    ledger = problem.run(sweep(), Rotate(40, step=4))
    assert (ledger.forward[~ledger.hit] == around.count).all()
    assert (ledger.forward[ledger.hit] < around.count).all()
    asked = problem.run(sweep(), Rotate(40, step=4), press_on=True)
    assert (asked.forward == around.count).all()


def test_labels_are_enough():
    problem = small()
    plain = problem.run(sweep(), Shift(2))
    blind = problem.granting(Access.LABELS).run(sweep(), Shift(2))
    assert torch.equal(blind.hit, plain.hit)


def test_a_few_find_less_and_all_different_ones_find_all():
    problem, threat = small(), Rotate(40, step=4)
    some, more, everything = (problem.run(worst_of(k), threat) for k in (2, 8, 1000))
    full = problem.run(sweep(), threat)
    assert some.hit.sum() < full.hit.sum()
    assert some.hit.sum() <= more.hit.sum() <= full.hit.sum()
    assert not (more.hit & ~full.hit).any()
    assert torch.equal(everything.hit, full.hit)
    assert everything.forward.max() == 21


@pytest.mark.parametrize("threat", [Flow(0.6), Colour(12), Ssim(0.3)], ids=str)
def test_gradients_walk_in_the_smooth_ones_and_beat_noise(threat):
    problem = small()
    random, climbed = problem.run(noise(20), threat), problem.run(pgd(20), threat)
    assert climbed.hit.sum() > random.hit.sum()


def test_refused():
    with pytest.raises(UsageError, match="at least 1"):
        worst_of(0)
    for attack in (sweep(), worst_of(3)):
        with pytest.raises(UsageError, match="one by one"):
            small().run(attack, Linf(0.1))
    with pytest.raises(UsageError, match="cannot walk"):
        small().run(pgd(2), Shift(1))
