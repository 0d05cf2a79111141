"""One attack, judged: a random model is voted on, and an attack is refused a set it cannot walk in."""

import pytest
import torch

from robustly import (
    L0,
    L2,
    Both,
    Edits,
    Grid,
    Linf,
    apgd,
    attack,
    cw,
    expected,
    greedy,
    least_radius,
    noise,
    pgd,
    square,
)
from robustly.core.errors import UsageError
from robustly.losses import margin
from robustly.steps import in_turn

X = torch.full((10, 6), 0.5)
Y = torch.zeros(10, dtype=torch.int64)


def lucky(share, seed=0):
    """Errs on a share of its answers, whatever it is asked."""
    g = torch.Generator().manual_seed(seed)

    def call(z):
        wrong = torch.rand(len(z), generator=g) < share
        m = torch.where(wrong, -1.0, 1.0) + 0 * z.sum(1)
        return torch.stack((m, torch.zeros_like(m)), 1)

    return call


def still(z):
    """Class 0 where the inputs sum up to less than 3.2."""
    m = 3.2 - z.sum(1)
    return torch.stack((m, torch.zeros_like(m)), 1)


def test_a_random_model_is_voted_on():
    found = attack(pgd(20), lucky(0.2), X, Y, Linf(0.1), range=(0, 1))
    assert not found.success.any()
    assert torch.equal(found.x, X)
    seldom_right = attack(pgd(20), lucky(0.8), X, Y, Linf(0.1), range=(0, 1))
    assert seldom_right.success.all()
    assert (seldom_right.forward[8:] == 21 + 11).all()  # it went on after its first success, and was judged 11 times
    assert (seldom_right.forward[:8] == 21 + 11 + 2).all()


def test_of_a_random_model_the_deepest_point_is_kept():
    g = torch.Generator().manual_seed(0)

    def call(z):
        m = 3.2 - z.sum(1) + 0.3 * torch.randn(len(z), generator=g)
        return torch.stack((m, torch.zeros_like(m)), 1)

    found = attack(expected(pgd(10, 0.25, margin), 20), call, X, Y, Linf(0.1), range=(0, 1))
    assert found.success.all()
    assert found.x.sum(1).mean() > 3.5


def test_a_model_that_repeats_itself_is_judged_once():
    found = attack(pgd(10, 0.25, margin), still, X, Y, Linf(0.1), range=(0, 1))
    assert found.success.all()
    assert (found.forward[8:] <= 11).all()


def test_a_budget_has_room_for_the_look_and_the_vote():
    for queries in (2, 3, 4, 9):
        found = attack(square(50), still, X, Y, Linf(0.1), range=(0, 1), queries=queries)
        assert found.forward.max() <= queries
    found = attack(square(50), lucky(0.8), X, Y, Linf(0.1), range=(0, 1), queries=20)
    assert found.success.all()
    assert found.forward.max() <= 20
    with pytest.raises(UsageError, match=r"the model is random.*at least 14"):
        attack(square(50), lucky(0.5), X, Y, Linf(0.1), range=(0, 1), queries=13)


def character_counts(texts):
    return torch.tensor([[float(len(t)), 3.0] for t in texts])


@pytest.mark.parametrize(
    ("made", "threat", "said"),
    [
        (cw(), Edits(2), "cw walks in Ball, and edits:2 is a .*greedy"),
        (in_turn(pgd(), greedy()), Edits(2), "pgd walks in Smooth"),
        (cw(), Grid(Linf(0.1)), "cw walks in Ball, and .*8bit is a GridSet.*pgd"),
        (least_radius(greedy()), Linf(0.1), "greedy walks in Finite, and linf:0.1 is a LinfBall.*square"),
        (square(), L0(2), "square walks in LinfBall or .*L0Ball.*pgd"),
    ],
)
def test_a_set_that_an_attack_cannot_walk_in_is_refused_with_those_that_can(made, threat, said):
    x = ("free money", "hello") if isinstance(threat, Edits) else torch.zeros(2, 6)
    model = character_counts if isinstance(threat, Edits) else still
    with pytest.raises(UsageError, match=said):
        attack(made, model, x, [0, 0], threat, range=None if isinstance(threat, Edits) else (0, 1))


def test_those_that_fit_pass():
    for made, threat in ((cw(2, 2), L2(torch.inf)), (apgd(2), Both(Linf(0.1), L2(0.3))), (noise(2), L0(2))):
        assert len(attack(made, still, X, Y, threat, range=(0, 1)).success) == 10
    assert len(attack(lambda case: None, still, X, Y, L0(2), range=(0, 1)).success) == 10


def test_least_radius_through_the_front_door():
    found = attack(least_radius(pgd(10, 0.25, margin), 14), still, X, Y, Linf(float("inf")), range=(0, 1))
    assert found.success.all()
    assert found.distance.numpy() == pytest.approx(0.2 / 6, rel=0.02)


@pytest.mark.parametrize("grad", ["zero", "nan"])
def test_a_gradient_of_nothing_is_survived_and_finds_nothing_by_itself(grad):
    def call(z):
        lost = (z * 0).sum(1) if grad == "zero" else ((z * 0).sqrt() * 0).sum(1)
        m = torch.ones(len(z)) + lost
        return torch.stack((m, torch.zeros_like(m)), 1)

    found = attack(apgd(5), call, X, Y, Linf(0.1), range=(0, 1))
    assert not found.success.any()


def test_integer_inputs_are_refused():
    with pytest.raises(UsageError, match=r"float|255"):
        attack(pgd(), still, (X * 10).long(), Y, Linf(0.1), range=(0, 1))
