"""The certifier by ReLU splitting: between what CROWN says and what points of the set say, each example for itself."""

import pytest
import torch
from tests.certify.test_crown import DOMAIN, bound, mlp

from robustly.certify.beta_crown import beta_crown
from robustly.certify.crown import alpha_crown
from robustly.core.errors import UsageError
from robustly.threats import L2, Linf


def case(count=16):
    generator = torch.Generator().manual_seed(1)
    net, x = mlp(0), torch.randn(count, 6, generator=generator)
    return net, x, net(x).argmax(1)


@pytest.mark.parametrize(("norm", "eps"), [(Linf, 0.17), (L2, 0.4)])
def test_it_certifies_what_slopes_leave_open_and_nothing_that_points_break(norm, eps):
    net, x, y = case()
    threat = norm(eps)
    found = bound(beta_crown(leaves=300), net, x, y, threat)
    before = bound(alpha_crown(), net, x, y, threat)
    around = threat.at(x, DOMAIN)
    least = torch.full((len(x),), torch.inf, dtype=torch.float64)
    for seed in range(200):
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)) * eps
        z = around.project(x + (noise.sign() * eps if seed % 2 else noise))
        scores = net(z).double()
        own = scores.gather(1, y[:, None])
        others = scores.scatter(1, y[:, None], -torch.inf)
        least = torch.minimum(least, (own.squeeze(1) - others.amax(1)))
    assert bool((found.lower <= least).all())
    assert bool(found.certified[before.certified].all())
    if norm is Linf:
        assert int(found.certified.sum()) > int(before.certified.sum())


def test_company_and_time_change_nothing_that_is_claimed():
    net, x, y = case(4)
    together = bound(beta_crown(leaves=60), net, x, y, Linf(0.2)).lower
    for i in range(4):
        assert torch.equal(
            bound(beta_crown(leaves=60), net, x[i : i + 1], y[i : i + 1], Linf(0.2)).lower, together[i : i + 1]
        )
    hurried = bound(beta_crown(seconds=1e-9), net, x, y, Linf(0.2))
    assert bool((hurried.lower <= together).all())
    assert all(why or lower > 0 for why, lower in zip(hurried.why, hurried.lower.tolist(), strict=True))


def test_a_target_is_out_of_reach_where_any_class_stays_above_it():
    net, x, y = case(4)
    target = (y + 1) % 4
    plain = bound(beta_crown(leaves=100), net, x, y, Linf(0.15))
    aimed = bound(beta_crown(leaves=100), net, x, y, Linf(0.15), target)
    assert bool(aimed.certified[plain.certified].all())
    assert aimed.certified.any()


def test_settings_are_checked():
    with pytest.raises(UsageError, match="leaves"):
        beta_crown(leaves=0)
    with pytest.raises(UsageError, match="seconds"):
        beta_crown(seconds=0)
