"""Certificates by votes, held against classifiers whose exact radius is known."""

import pytest
import torch

from robustly.certify.reach import reach
from robustly.certify.smoothing import radii, smoothing, smoothing_early
from robustly.core.errors import UsageError
from robustly.defend.smoothed import smooth
from robustly.goals import Goal
from robustly.oracle import Access, Model
from robustly.steps.noises import Gaussian, Laplace, Uniform
from robustly.threats import L0, L1, L2, Domain, Edits, Linf

UNIT = Domain(0.0, 1.0)


def linear(seed=0, n=6, axis=False):
    """Two classes apart by a plane through the middle; of a linear classifier the smoothed one has the same."""
    normal = torch.randn(n, generator=torch.Generator().manual_seed(seed))
    normal = normal / normal.norm() if not axis else torch.nn.functional.one_hot(torch.tensor(0), n).float()

    def call(z):
        side = (z.flatten(1) - 0.5) @ normal
        return torch.stack((side, -side), 1)

    return Model(call, UNIT, classes=2, digest="plane"), normal


def inputs(count=30, n=6):
    return torch.rand(count, n, generator=torch.Generator().manual_seed(1))


def truth(x, normal, norm="l2"):
    gap = ((x - 0.5) @ normal).double().abs()
    return gap / (normal.norm() if norm == "l2" else normal.abs().max())


def test_radii_are_below_the_true_ones_and_near_them():
    base, normal = linear()
    x = inputs()
    found, true = radii(smooth(base, 0.25), x, n=4000), truth(x, normal)
    assert (found.radius <= true).all()
    sure = (found.label >= 0) & (true < 0.5)
    assert torch.equal(found.label[sure], base.ask(x).argmax(1)[sure])
    assert ((true - found.radius)[sure & (true > 0.05)] < 0.05).all()
    assert sure.sum() > 20


@pytest.mark.parametrize("noise", [Laplace, Uniform])
def test_l1_radii_are_below_the_true_ones(noise):
    base, normal = linear(axis=True)  # one coordinate decides: the event for which these bounds are exact
    x = inputs()
    found, true = radii(smooth(base, 0.25, noise=noise), x, n=4000), truth(x, normal, "l1")
    assert (found.radius <= true).all()
    assert ((true - found.radius)[true < 0.4] < 0.08).all()
    assert (found.radius > 0.1).sum() > 10


@pytest.mark.parametrize("certifier", [smoothing(n=2000), smoothing_early(n=2000)], ids=["fixed", "early"])
def test_a_certificate_holds_and_its_bound_is_below_the_margin(certifier):
    base, normal = linear()
    x = inputs(16)
    y, true = base.ask(x).argmax(1), truth(x, normal)
    model = smooth(base, 0.25)
    certain = []
    for eps in (0.0, 0.1, 0.3):
        bound = certifier(model, L2(eps).at(x, UNIT), Goal(y))
        assert not (bound.certified & (true <= eps)).any()
        worst = 2 * torch.special.ndtr((true - eps) / 0.25) - 1
        assert (bound.lower <= worst + 1e-9).all()
        assert [w is None for w in bound.why] == bound.certified.tolist()
        assert bound.spent is not None
        assert (bound.spent >= 1).all()
        certain.append(int(bound.certified.sum()))
        wrong = certifier(model, L2(eps).at(x, UNIT), Goal(1 - y))
        assert not wrong.certified.any()
        assert not certifier(model, L2(eps).at(x, UNIT), Goal(1 - y, y)).certified.any()
        assert torch.equal(certifier(model, L2(eps).at(x, UNIT), Goal(y, 1 - y)).lower, bound.lower)
    assert certain == sorted(certain, reverse=True)
    assert certain[0] >= 12
    assert certain[2] >= 2


def test_early_stopping_saves_votes_and_loses_few():
    base, _normal = linear()
    x = inputs(12)
    goal, around, model = Goal(base.ask(x).argmax(1)), L2(0.1).at(x, UNIT), smooth(base, 0.25)
    fixed, early = smoothing(n=6000)(model, around, goal), smoothing_early(n=6000)(model, around, goal)
    assert int(early.spent.sum()) < 0.4 * int(fixed.spent.sum())
    assert int((fixed.certified & ~early.certified).sum()) <= 2


def test_rows_are_alone():
    base, _ = linear()
    x, certify = inputs(5), smoothing_early(n=2000)
    goal, model = Goal(base.ask(x).argmax(1)), smooth(base, 0.25)
    whole = certify(model, L2(0.1).at(x, UNIT), goal)
    for i in range(5):
        alone = certify(model, L2(0.1).at(x[i : i + 1], UNIT), goal.take(slice(i, i + 1)))
        assert torch.equal(alone.lower, whole.lower[i : i + 1])
        assert alone.spent[0] == whole.spent[i]
        assert alone.why == whole.why[i : i + 1]


def test_too_few_votes_say_how_many_it_takes():
    with pytest.raises(UsageError, match=r"n=5 votes can certify nothing.*n of 10 or more"):
        smoothing(n=5)
    with pytest.raises(UsageError, match="17 or more"):
        smoothing_early(n=16, examples=100)
    base, _ = linear()
    x = inputs(3)
    goal = Goal(base.ask(x).argmax(1))
    bound = smoothing(n=100)(smooth(base, 0.25), L2(0.5).at(x, UNIT), goal)
    assert not bound.certified.any()
    assert bound.forward == 0
    assert "it takes n of 301 or more" in bound.why[0]
    certain = smooth(Model(lambda z: torch.tensor([[1.0, 0.0]]).repeat(len(z), 1), UNIT, classes=2, digest="0"), 0.25)
    none = Goal(torch.zeros(3, dtype=torch.int64))
    assert smoothing(n=301)(certain, L2(0.5).at(x, UNIT), none).certified.all()
    assert not smoothing(n=300)(certain, L2(0.5).at(x, UNIT), none).certified.any()  # all votes alike: a finite radius


def test_alpha_is_divided_over_the_examples():
    base, _ = linear()
    x = inputs(4)
    goal, around, model = Goal(base.ask(x).argmax(1)), L2(0.05).at(x, UNIT), smooth(base, 0.25)
    one, many = (smoothing(n=1000, examples=k)(model, around, goal).lower for k in (1, 10_000))
    fine = smoothing(n=1000, alpha=1e-7)(model, around, goal).lower
    assert torch.equal(many, fine)
    assert (many[torch.isfinite(one)] < one[torch.isfinite(one)]).all()


def test_no_class_wins_no_certificate():
    nothing = Model(lambda z: torch.full((len(z), 2), torch.nan), UNIT, classes=2, digest="nan")
    x = inputs(3)
    bound = smoothing(n=100)(smooth(nothing, 0.25), L2(0.01).at(x, UNIT), Goal(torch.zeros(3, dtype=torch.int64)))
    assert not bound.certified.any()
    assert all("no class" in why for why in bound.why)
    assert radii(smooth(nothing, 0.25), x, n=100).label.tolist() == [-1] * 3


def test_what_it_is_not_for():
    base, _ = linear()
    x, model = inputs(3), smooth(base, 0.25)
    goal = Goal(base.ask(x).argmax(1))
    assert "smoothed models alone" in smoothing()(base, L2(0.1).at(x, UNIT), goal).why[0]
    texts = Edits(1).at(("a", "b", "c"))
    assert "EditSet" in smoothing()(model, texts, goal).why[0]
    with pytest.raises(UsageError, match="no smoothed model"):
        radii(base, x)
    with pytest.raises(UsageError, match="alpha"):
        smoothing(alpha=0.9)
    labels = smooth(base.granting(Access.LABELS), 0.25)
    assert torch.equal(radii(labels, x, n=500).radius, radii(model, x, n=500).radius)


@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.3), L1(0.4), L0(2), Linf(0.7)], ids=str)
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_no_member_is_beyond_the_reach(threat, norm):
    from robustly.core import keys

    x = inputs(50)
    around = threat.at(x, UNIT)
    far = reach(around, norm)
    points = [around.sample(keys.from_ids(s, [str(i) for i in range(50)])) for s in range(30)]
    g = torch.Generator().manual_seed(3)
    points += [around.linear_max(torch.randn(50, 6, generator=g)) for _ in range(200)]
    points += [around.linear_max(torch.randn(50, 6, generator=g).sign()) for _ in range(50)]
    points = [z for z in points if around.contains(z).all()]
    size = torch.stack([(z - x).double().norm(p=2 if norm == "l2" else 1, dim=1) for z in points]).amax(0)
    assert (size <= far).all()
    assert (size > 0.7 * far).float().mean() > (0.5 if norm == "l1" or not isinstance(threat, L1) else 0.2)


def test_gaussian_noise_certifies_other_balls_by_the_l2_ball_around_them():
    base, normal = linear()
    x = inputs(16)
    y, model = base.ask(x).argmax(1), smooth(base, 0.25, noise=Gaussian)
    true = truth(x, normal)
    for threat, size in ((L1(0.15), 0.15), (Linf(0.05), 0.05 * 6**0.5)):
        bound = smoothing(n=2000)(model, threat.at(x, UNIT), Goal(y))
        assert bound.certified.sum() >= 2
        assert not (bound.certified & (true <= 0.9 * size)).any()  # of which the domain may cut off a corner
