from __future__ import annotations

import math

import pytest
import torch

from robustly.attacks.noise import noise
from robustly.attacks.pgd import pgd
from robustly.attacks.square import (
    SCHEDULE,
    bump,
    flecks,
    framed,
    hop,
    repaint,
    shift,
    shrinkage,
    sides,
    square,
    stripes,
)
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle import Access
from robustly.steps.surrogates import from_surrogate
from robustly.threats import L0, L1, L2, Both, Domain, Linf, parse_threat

from .small import small


@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 4, 5), (1, 2, 9), (20,), (2, 9)])
@pytest.mark.parametrize("norm", [Linf, L2, L1])
def test_breaks_more_than_noise_of_as_many_queries(norm, shape):
    problem = small(shape).granting(Access.SCORES)
    size = {Linf: 0.15, L2: 0.1 * math.prod(shape) ** 0.5, L1: 0.07 * math.prod(shape)}[norm]
    threat = norm(size)
    ledger = problem.run(square(200), threat)
    assert ledger.firm.sum() >= 6
    assert ledger.firm.sum() > 1.3 * problem.run(noise(200), threat).firm.sum()
    assert ledger.backward.sum() == 0


@pytest.mark.parametrize("queries", [1, 2, 65, 130])
@pytest.mark.parametrize("threat", [Linf(1e-4), L2(1e-4), L1(1e-4)], ids=str)
def test_passes_of_a_survivor(threat, queries):
    ledger = small().run(square(queries), threat)
    assert ledger.forward[~ledger.firm].unique().tolist() == [queries]


@pytest.mark.parametrize(
    "threat", [Linf(0.15), L2(0.6), L1(3.0), Both(Linf(0.15), L2(0.5)), Both(L2(0.6), Linf(0.2))], ids=str
)
def test_only_members_are_asked(threat):
    problem = small()
    ledger = problem.run(square(80), threat)
    around = threat.at(problem.x, problem.model.domain)
    full = [z for z in problem.asked if len(z) == len(problem.x)]
    assert full
    assert all(around.contains(z).all() for z in full)
    assert ledger.firm.any()


def test_on_a_grid():
    problem = small()
    problem = type(problem)(problem.model, (problem.x * 255).round() / 255, problem.y, problem.asked)
    ledger = problem.run(square(80), parse_threat("linf:40/255@8bit"))
    assert ledger.firm.any()
    assert torch.allclose(ledger.point * 255, (ledger.point * 255).round(), atol=1e-3)


@pytest.mark.parametrize("threat", [Linf, L2])
def test_masked_numbers_stay(threat):
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[:, 1:5, :4] = True
    problem = small()
    ledger = problem.run(square(100), threat(0.8, mask))
    assert ledger.firm.any()
    for z in problem.asked:
        if len(z) == len(problem.x):
            assert torch.equal(z.where(~mask, torch.tensor(0.0)), problem.x.where(~mask, torch.tensor(0.0)))


@pytest.mark.parametrize("threat", [Linf, L2])
def test_eps_of_each_example_and_a_target(threat):
    problem = small()
    eps = torch.where(torch.arange(24) % 2 == 0, 0.0, 0.5 if threat is Linf else 2.0)
    target = (problem.y + 1) % 4
    ledger = problem.run(square(150), threat(eps), Goal(problem.y, target))
    assert not ledger.hit[::2].any()
    assert ledger.firm.sum() >= 3
    assert torch.equal(problem.model.ask(ledger.point).argmax(1)[ledger.firm], target[ledger.firm])


def test_each_example_has_its_own_windows():
    problem = small()
    x = problem.x[:1].expand(24, -1, -1, -1)
    same = type(problem)(problem.model, x, problem.y[:1].expand(24), problem.asked)
    same.run(square(5), Linf(1e-3))
    for z in problem.asked:
        assert len(z.unique(dim=0)) > 1


def test_the_loss_never_falls():
    problem = small()
    frame = framed(Linf(0.01).at(problem.x, problem.model.domain))
    begin = problem.model.ask(stripes(frame, keys.from_ids(0, ["a"] * 24)))
    few, many = (problem.run(square(n), Linf(0.01)).best_margin for n in (5, 200))
    assert (many < few).double().mean() > 0.8
    assert (many < Goal(problem.y).margin(begin)).double().mean() > 0.8


def test_schedule_of_the_paper():
    """At 10,000 queries the share is halved after 10, 50, 200, ... proposals; with fewer queries sooner."""
    assert [end for end, _ in SCHEDULE] == [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000]
    assert [shrinkage(i, 10000) for i in (0, 10, 11, 50, 51, 1001, 8000, 8001)] == [1, 1, 2, 2, 4, 32, 256, 512]
    assert shrinkage(6, 5000) == 2


def test_windows():
    assert sides(0.8, 28, 28) == (25, 25)
    assert sides(1e-6, 28, 28) == (1, 1)
    assert sides(0.8 / 512, 28, 28, least=3) == (3, 3)
    assert sides(0.8, 1, 100) == (1, 80)
    assert sides(0.8, 100, 1) == (80, 1)
    assert sides(0.01, 1, 100) == (1, 1)
    assert sides(1.0, 2, 2, least=3) == (2, 2)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (5, 1), (2, 2), (5, 5), (3, 8)])
def test_bumps_have_length_one_and_two_signs(height, width):
    both = bump(height, width)
    assert both.shape == (2, height, width)
    assert torch.allclose(both.flatten(1).norm(dim=1), torch.ones(2))
    if height * width > 1:
        assert all(b.min() < 0 < b.max() for b in both)
    if height == width:
        assert torch.allclose(both[0], both[1].T)


def test_a_bump_is_highest_in_the_middle_of_its_halves():
    """For 7 by 7: the upper half (3 rows) around (1, 3); one ring out the height falls by 1/1^2."""
    upper = bump(7, 7)[0][:3]
    heights = torch.tensor([1 + 1 / 4 + 1 / 9 + 1 / 16, 1 / 4 + 1 / 9 + 1 / 16, 1 / 9 + 1 / 16, 1 / 16])
    assert torch.allclose(upper[1, 3:] / upper[1, 3], heights / heights[0])


def test_repainting_changes_one_square_to_the_bounds():
    x = torch.full((50, 2, 9, 9), 0.5)
    frame = framed(Linf(0.1).at(x))
    z = stripes(frame, keys.from_ids(0, map(str, range(50))))
    words = keys.bits(keys.from_ids(1, map(str, range(50))), 7)
    new = repaint(frame, z, words, 0.2)
    moved = (new != z).flatten(1).any(1)
    assert moved.all()
    assert ((new == frame.low) | (new == frame.high)).all()
    touched = (new != z).any(1)
    for rows in touched:
        at = rows.nonzero()
        assert (at.amax(0) - at.amin(0) < sides(0.2, 9, 9)[0]).all()
    assert len({tuple(t.flatten().tolist()) for t in touched}) > 20


def test_a_shift_keeps_the_length():
    x = torch.full((20, 3, 10, 10), 0.5)
    frame = framed(L2(1.0).at(x))
    z = x + torch.nn.functional.normalize(keys.normal(keys.from_ids(0, map(str, range(20))), (300,))).view_as(x)
    new = shift(frame, z, keys.bits(keys.from_ids(1, map(str, range(20))), 8), 0.1)
    assert torch.allclose((new - x).flatten(1).norm(dim=1), torch.ones(20), atol=1e-5)
    changed = ((new - z).abs() > 1e-4).any(1).flatten(1).sum(1)
    assert (changed >= 9).all()
    assert (changed <= 18).all()
    assert math.isclose(sides(0.1, 10, 10, 3)[0], 3)


def test_other_balls_are_refused():
    with pytest.raises(UsageError, match="linf, l2 and l1 balls"):
        small().run(square(5), L0(3))


def test_bumps_for_l1_sum_up_to_one_and_are_steeper():
    """One ring out the height falls by 1/1^4, where for l2 it falls by 1/1^2."""
    both = bump(7, 7, 1)
    assert torch.allclose(both.abs().flatten(1).sum(1), torch.ones(2))
    heights = torch.tensor([1 + 1 / 16 + 1 / 81 + 1 / 256, 1 / 16 + 1 / 81 + 1 / 256, 1 / 81 + 1 / 256, 1 / 256])
    assert torch.allclose(both[0][1, 3:] / both[0][1, 3], heights / heights[0])


def test_a_hop_moves_the_length_and_stays_in_the_ball():
    x = torch.full((20, 3, 10, 10), 0.5)
    threat = L1(4.0)
    frame = framed(threat.at(x, Domain(0.0, 1.0)))
    z = flecks(frame, keys.from_ids(0, map(str, range(20))))
    assert torch.allclose((z - x).abs().flatten(1).sum(1), torch.full((20,), 4.0), rtol=1e-4)
    new = hop(frame, z, keys.bits(keys.from_ids(1, map(str, range(20))), 8), 0.1)
    assert threat.at(x, Domain(0.0, 1.0)).contains(new).all()
    assert ((new - x).abs().flatten(1).sum(1) > 3.5).all()
    assert ((new - z).abs().flatten(1).amax(1) > 1e-3).all()


@pytest.mark.parametrize(
    ("arguments", "words"), [({"queries": 0}, "queries"), ({"p": 0.0}, "share"), ({"p": 1.1}, "share")]
)
def test_settings_that_make_no_sense_are_refused(arguments, words):
    with pytest.raises(UsageError, match=words):
        square(**arguments)


def test_an_infinite_eps_is_refused():
    with pytest.raises(UsageError, match="finite eps"):
        small().run(square(5), L2(float("inf")))


def test_it_begins_at_a_start_where_one_is_given():
    one = small()
    broken = one.run(pgd(20), Linf(0.2)).hit
    ledger = one.run(square(30, start=from_surrogate(one.model, pgd(20))), Linf(0.2))
    assert broken.any()
    assert (ledger.forward[broken] == 1).all()
    cold = one.run(square(30), Linf(0.2))
    assert (cold.forward[broken] > 1).any()
