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
from robustly.core.errors import RobustlyError, SoundnessWarning, UsageError
from robustly.losses import cross_entropy, dlr, margin
from robustly.oracle import Model
from robustly.steps import in_turn, per_target
from robustly.threats import Domain

X = torch.full((10, 6), 0.5)
Y = torch.zeros(10, dtype=torch.int64)


def lucky(share, seed=0):
    """Errs on a share of its answers, whatever it is asked; it has no gradient."""
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


@pytest.mark.filterwarnings("ignore::robustly.core.errors.SoundnessWarning")
def test_a_random_model_is_voted_on():
    found = attack(pgd(20), lucky(0.2), X, Y, Linf(0.1), range=(0, 1))
    assert not found.success.any()
    assert torch.equal(found.x, X)
    seldom_right = attack(pgd(20), lucky(0.8), X, Y, Linf(0.1), range=(0, 1))
    assert seldom_right.success.all()
    assert (seldom_right.forward[8:] == 21 + 11).all()  # it went on after its first success, and was judged 11 times
    assert (seldom_right.forward[:8] == 21 + 11 + 2).all()


def trembling(z):
    """`still` with noise on its scores."""
    return still(z) + 0.3 * torch.randn(len(z), 2)


def test_single_draws_of_a_random_model_are_told():
    with pytest.warns(SoundnessWarning, match=r"random model.*pgd followed the gradient of single draws.*expected"):
        found = attack(pgd(3), trembling, X, Y, Linf(0.1), range=(0, 1))
    assert len(found.warnings) == 1
    for made in (expected(pgd(3), 4), square(5)):
        assert not attack(made, trembling, X, Y, Linf(0.1), range=(0, 1)).warnings
    assert not attack(pgd(3), still, X, Y, Linf(0.1), range=(0, 1)).warnings


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
        (cw(), Edits(2), "cw walks in Ball, and edits:2 is an EditSet.*greedy"),
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


def lost(way, z):
    return (z * 0).sum(1) if way == "zero" else ((z * 0).sqrt() * 0).sum(1)


@pytest.mark.parametrize("way", ["zero", "nan"])
def test_a_gradient_of_nothing_is_told_and_finds_nothing_by_itself(way):
    def call(z):
        m = 2 + lost(way, z)
        return torch.stack((m, torch.zeros_like(m)), 1)

    with pytest.warns(SoundnessWarning, match="masked gradients: .* for 10 examples"):
        found = attack(apgd(5), call, X, Y, Linf(0.1), range=(0, 1))
    assert not found.success.any()
    assert found.flat.all()
    assert len(found.warnings) == 1
    assert "1 warning" in repr(found)


def test_a_lost_gradient_is_told_of_its_example_alone():
    x = X.clone()
    x[3] = 0.1

    def call(z):  # blind where the inputs are small
        seen = torch.where(z.sum(1) > 1.5, z.sum(1), z.sum(1).detach())
        m = 3.2 - seen
        return torch.stack((m, torch.zeros_like(m)), 1)

    with pytest.warns(SoundnessWarning, match="for 1 example;"):
        found = attack(pgd(5, 0.25, margin), call, x, Y, Linf(0.1), range=(0, 1))
    assert found.flat.tolist() == [i == 3 for i in range(10)]
    assert found.success.tolist() == [i != 3 for i in range(10)]
    blind = attack(square(20), call, x, Y, Linf(0.1), range=(0, 1))  # asks no gradient: nothing to warn of
    assert not blind.flat.any()
    assert not blind.warnings


@pytest.mark.parametrize("queries", [None, 4, 9])
def test_probabilities_are_told_and_the_look_is_within_the_budget(queries):
    rows = []

    def call(z):
        rows.append(len(z))
        return still(z).softmax(1)

    with pytest.warns(SoundnessWarning, match="look like probabilities"):
        found = attack(pgd(5), call, X, Y, Linf(0.01), range=(0, 1), queries=queries)
    assert found.forward.sum() == sum(rows)
    assert queries is None or found.forward.max() <= queries


def test_without_room_for_a_look_nothing_is_looked_at():
    rows = []

    def call(z):
        rows.append(len(z))
        return still(z).softmax(1)

    found = attack(pgd(5), call, X, Y, Linf(0.01), range=(0, 1), queries=3)
    assert found.forward.sum() == sum(rows)
    assert found.forward.max() <= 3
    assert not found.warnings


def test_answers_that_are_no_numbers_are_told():
    with pytest.warns(SoundnessWarning) as told:
        found = attack(pgd(3), lambda z: still(z) * float("nan"), X, Y, Linf(0.01), range=(0, 1))
    assert found.odd.all()
    assert found.success.all()
    assert any("non-finite outputs" in str(w.message) for w in told)


class Weighed(torch.nn.Module):
    """Its answer has a graph, but one that leads to its weight alone."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, z):
        return self.weight * still(z.detach())


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (lambda z: still(z)[:, :1], "1 class and nothing to confuse"),
        (Model(lambda z: still(z)[:, :1], Domain(0, 1)), r"shape \(10, 1\); scores \(B, K\) of at least 2"),
        (Model(lambda z: still(z)[:, 0], Domain(0, 1)), r"shape \(10,\); scores \(B, K\) of at least 2"),
        (lambda z: {"logits": still(z)}, r'model\(x\)\["logits"\]'),
        (lambda z: still(z.detach()), "no gradient flows"),
        (Weighed().eval(), "no gradient flows"),
    ],
)
def test_a_model_that_cannot_be_attacked_so_is_refused(model, says):
    with pytest.raises(RobustlyError, match=says):
        attack(pgd(3), model, X, Y, Linf(0.1), range=(0, 1))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"target": 7}, "label 7 is beyond the 2 classes"),
        ({"target": -1}, "from 0 on; got -1"),
        ({"target": "cat"}, "got 'cat'"),
        ({"target": 1.0}, "whole numbers"),
        ({"target": torch.tensor([1, 1])}, r"shape \(10,\)"),
        ({"target": 0}, "its true label 0"),
        ({"queries": 5.0}, "queries must be a whole number"),
        ({"queries": "5"}, "queries must be a whole number"),
        ({"seed": 0.5}, "seed must be a whole number"),
    ],
)
def test_a_wrong_target_budget_or_seed_is_refused(given, says):
    with pytest.raises(UsageError, match=says):
        attack(pgd(3), still, X, Y, Linf(0.1), range=(0, 1), **given)


@pytest.mark.parametrize("classes", [2, 3])
def test_two_or_three_classes_are_enough_for_every_loss(classes):
    def call(z):
        return torch.cat((still(z), torch.full((len(z), 1), -9.0)), 1)[:, :classes]

    for loss in (dlr, margin, cross_entropy):
        found = attack(per_target(apgd(10, loss), 9), call, X, Y, Linf(0.1), range=(0, 1))
        assert found.success.all()


def test_integer_inputs_are_refused():
    with pytest.raises(UsageError, match=r"float|255"):
        attack(pgd(), still, (X * 10).long(), Y, Linf(0.1), range=(0, 1))
