"""Certificates against patches: true to their theorems, against every place and the worst paint."""

import itertools

import pytest
import torch

from robustly import Patch, audit, banded, cleansed
from robustly.attacks.noise import noise
from robustly.certify.patches import column_votes, double_masking
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle import Access, Model
from robustly.oracle.covers import Bands, Masking
from robustly.threats import Domain, Linf

UNIT = Domain(0.0, 1.0)


def bright(z):
    """Is more of the image bright than dark? A patch can tip only images that are near the balance."""
    mean = z.mean((1, 2, 3)) - 0.5
    return torch.stack((mean, -mean), 1)


def model():
    return Model(bright, UNIT, classes=2, digest="bright", name="bright")


def images(count=24, size=8):
    g = torch.Generator().manual_seed(0)
    level = torch.linspace(0.05, 0.95, count)[:, None, None, None]
    return (level + 0.05 * torch.randn(count, 1, size, size, generator=g)).clamp(0, 1)


@pytest.mark.parametrize(("size", "patch", "masks"), [(8, 2, 3), (9, 3, 4), (13, 5, 2), (32, 5, 6), (10, 1, 10)])
def test_every_patch_is_covered_by_a_mask(size, patch, masks):
    hidden = Masking(model(), patch, masks, 0.5).hidden(size, size + 3)
    assert len(hidden) <= (masks + 1) ** 2
    assert not hidden.flatten(1).all(1).any()
    for top, left in itertools.product(range(size - patch + 1), range(size + 3 - patch + 1)):
        assert hidden[:, top : top + patch, left : left + patch].flatten(1).all(1).any()


def worst(x, label, patch):
    """Each image with each place painted white and black: for a mean, no paint is worse."""
    for top, left in itertools.product(range(x.shape[2] - patch + 1), range(x.shape[3] - patch + 1)):
        for paint in (0.0, 1.0):
            z = x.clone()
            z[:, :, top : top + patch, left : left + patch] = paint
            yield z


@pytest.mark.parametrize("defence", ["masks", "bands"])
def test_no_patch_breaks_what_is_certified(defence):
    x = images()
    if defence == "masks":
        defended, certify = cleansed(model(), 2, masks=3), double_masking()
    else:
        defended, certify = banded(model(), 2, fill=0.5), column_votes()
    answer = defended.ask(x)
    y = answer if defence == "masks" else answer.argmax(1)
    goal, around = Goal(y), Patch(2).at(x, UNIT)
    bound = certify(defended, around, goal)
    assert [w is None for w in bound.why] == bound.certified.tolist()
    assert 8 <= bound.certified.sum() < 24
    broken = torch.zeros(24, dtype=torch.bool)
    for z in worst(x, y, 2):
        said = defended.ask(z)
        if defence == "masks":
            broken |= said != y
            assert (said[bound.certified] == y[bound.certified]).all()
        else:
            broken |= goal.met(said)
            assert (goal.margin(said) >= bound.lower).all()
    assert not (broken & bound.certified).any()
    assert not certify(defended, around, Goal(1 - y)).certified.any()
    for i in (0, 11):
        alone = certify(defended, around.take(torch.tensor([i])), goal.take(slice(i, i + 1)))
        assert alone.lower[0] == bound.lower[i]


def test_double_masking_recovers_what_a_patch_took():
    """A model that a single white pixel fools: behind the masks it reads images rightly all the same."""

    def fooled(z):
        found = (z > 0.99).flatten(1).any(1)
        return torch.where(found[:, None], torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]))

    base = Model(fooled, UNIT, classes=2, digest="fooled")
    x = images(6) * 0.9
    z = x.clone()
    z[:, :, 3, 5] = 1.0
    assert base.ask(z).argmax(1).tolist() == [1] * 6
    defended = cleansed(base, 2, masks=3)
    assert defended.ask(z).tolist() == [0] * 6
    bound = double_masking()(defended, Patch(2).at(x, UNIT), Goal(torch.zeros(6, dtype=torch.int64)))
    assert bound.certified.all()
    for paint in worst(x, None, 2):
        assert defended.ask(paint).tolist() == [0] * 6


def test_bands_see_their_columns_alone():
    hidden = Bands(model(), 3, 0.0).hidden(2, 8)
    assert hidden.shape == (8, 2, 8)
    assert (~hidden).sum((1, 2)).tolist() == [6] * 8
    assert (~hidden[6, 0]).nonzero().flatten().tolist() == [0, 6, 7]
    defended, x = banded(model(), 2, fill=0.5), images().requires_grad_()
    with torch.enable_grad():
        votes = defended.call(x)
        (grad,) = torch.autograd.grad(votes[:, 0].sum(), x)
    assert (votes.sum(1) == 8).all()
    assert (grad > 0).all()


def test_what_they_are_not_for():
    x = images(2)
    goal = Goal(torch.tensor([1, 0]))
    defended = cleansed(model(), 2, masks=3)
    assert defended.access is Access.LABELS
    assert "not of 3" in double_masking()(defended, Patch(3).at(x, UNIT), goal).why[0]
    assert "LinfBall" in double_masking()(defended, Linf(0.1).at(x, UNIT), goal).why[0]
    assert "alone" in double_masking()(model(), Patch(2).at(x, UNIT), goal).why[0]
    assert "alone" in column_votes()(model(), Patch(2).at(x, UNIT), goal).why[0]
    with pytest.raises(UsageError, match="cover inputs"):
        cleansed(model(), 8, masks=2).call(x)
    with pytest.raises(UsageError, match="width"):
        banded(model(), 0)
    with pytest.raises(UsageError, match="scores"):
        banded(model().granting(Access.LABELS), 2)


@pytest.mark.parametrize("defence", ["masks", "bands"])
def test_in_an_audit(defence):
    x = images(12)
    defended = cleansed(model(), 2, masks=3) if defence == "masks" else banded(model(), 2, fill=0.5)
    y = (x.mean((1, 2, 3)) < 0.5).long()
    plan = None if defence == "bands" else [double_masking(), noise(10)]
    record = audit(defended, (x, y), Patch(2), plan, range=(0, 1))
    assert record.status == "complete"
    assert record.threat == "patch:2"
    assert record.summary.certified_count >= 4
    assert any("defended model" in note for note in record.notes)
    assert plan is not None or record.plan == "patches"


def test_the_cost_is_told_before_anything_is_asked():
    asked = []

    def counted(z):
        asked.append(len(z))
        return bright(z)

    base = Model(counted, UNIT, classes=2, digest="counted", name="counted")
    defended, x = cleansed(base, 2, masks=3), images(2)
    assert any("a certificate up to 45" in note for note in defended.notes)
    assert any("as many passes of bright as an image has columns" in note for note in banded(model(), 2).notes)
    goal, around = Goal(torch.tensor([1, 0])), Patch(2).at(x, UNIT)
    bound = double_masking(limit=44)(defended, around, goal)
    assert not asked
    assert not bound.certified.any()
    assert bound.why[0] == (
        "9 masks make 45 pairs, a pass of counted each, more than limit=44: take fewer masks along each axis"
    )
    assert double_masking(limit=45)(defended, around, goal).certified.all()
    assert sum(asked) == 2 * 45
    with pytest.raises(UsageError, match="at least 1"):
        double_masking(limit=0)
