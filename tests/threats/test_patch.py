"""Patches: membership is one square anywhere, and what lands in the set is a member."""

import pytest
import torch

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.threats import Domain, Patch, eps_of, parse_threat, with_eps

UNIT = Domain(0.0, 1.0)


def images(count=8, shape=(3, 7, 9)):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1


def test_membership_is_one_square():
    x = images(1)
    around = Patch(3).at(x, UNIT)
    z = x.clone()
    assert around.contains(z).all()
    assert around.distance(z) == 0
    z[0, :, 2:5, 6:9] = 1.0
    assert around.contains(z).all()
    assert around.distance(z) == 3
    far = z.clone()
    far[0, 1, 5, 8] = 0.0
    assert not around.contains(far).any()
    assert around.distance(far) == 4
    beyond = x.clone()
    beyond[0, 0, 0, 0] = 1.5
    assert not around.contains(beyond).any()
    assert not around.contains(x + torch.nan).any()


@pytest.mark.parametrize("side", [0, 1, 3, 7, 20])
def test_what_lands_inside_is_inside(side):
    x = images()
    around, g = Patch(side).at(x, UNIT), torch.Generator().manual_seed(1)
    key = keys.from_ids(0, [str(i) for i in range(8)])
    drawn = around.sample(key)
    assert around.contains(drawn).all()
    assert torch.equal(around.take(torch.tensor([5])).sample(key[5:6]), drawn[5:6])
    z = x + torch.randn(x.shape, generator=g)
    near = around.project(z)
    assert around.contains(near).all()
    assert torch.equal(around.project(drawn), drawn)
    for seed in range(20):  # the nearest: no other member is nearer
        other = around.sample(keys.fold(key, seed))
        other = torch.where(other != x, z.clamp(0, 1), x)
        assert ((near - z).flatten(1).norm(dim=1) <= (other - z).flatten(1).norm(dim=1) + 1e-5).all()
    assert around.contains(around.project(x + around.steepest(torch.randn(x.shape, generator=g)))).all()


def test_texts_and_refusals():
    assert parse_threat("patch:5") == Patch(5)
    assert str(Patch(5)) == "patch:5"
    assert eps_of(with_eps(Patch(5), 3)) == 3
    with pytest.raises(UsageError, match="whole number"):
        parse_threat("patch:0.5")
    with pytest.raises(UsageError, match=r"\(B, C, H, W\)"):
        Patch(2).at(torch.zeros(2, 5), UNIT)
