"""The least of a linear function over sets: below every member, near the best, and against the sets' own support."""

import pytest
import torch

from robustly.certify.linear.region import Region
from robustly.core import keys
from robustly.threats import L0, L1, L2, Both, Domain, Edits, Grid, Linf, Patch

DOMAIN = Domain(0, 1)


@pytest.mark.parametrize(
    "threat",
    [
        Linf(0.1),
        L2(0.4),
        L2(30.0),
        L2(0.0),
        L1(1.3),
        L1(0.0),
        L1(500.0),
        L0(2),
        L0(0),
        Both(L2(0.5), Linf(0.2)),
        Grid(L2(0.5)),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_the_least_is_below_every_member_and_near_the_best(threat, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(4, 2, 5, generator=generator)
    x[:, 0, :2] = torch.tensor([0.0, 1.0])  # at the edge of the domain
    x = (x * 255).round() / 255
    around = threat.at(x, DOMAIN)
    region = Region.of(around)
    slope = torch.randn(4, 3, 2, 5, generator=generator).double()
    slope[:, 2, 0] = 0
    found = region.least(slope)
    whole = around.ball if isinstance(threat, Grid) else around
    for s in range(3):
        best = (slope[:, s] * whole.linear_max(-slope[:, s].float()).double()).flatten(1).sum(1)
        assert (found[:, s] <= best).all()
        assert (best - found[:, s] <= 1e-3 * (1 + slope[:, s].abs().flatten(1).sum(1))).all()
        assert (found[:, s] >= -whole.support(-slope[:, s]) - 1e-3).all()
        for draw in range(20):
            z = around.sample(keys.from_ids(draw, list("abcd"))).double()
            assert ((slope[:, s] * z).flatten(1).sum(1) >= found[:, s]).all()


def test_the_ball_and_the_box_bound_more_together_than_apart():
    x = torch.zeros(1, 8)
    slope = torch.ones(1, 1, 8).double()
    around = L2(1.0).at(x + 0.05, Domain(0, 1))
    found = Region.of(around).least(slope).item()
    assert found == pytest.approx(0.0, abs=1e-4)  # every coordinate at the edge, well inside the ball
    up = -Region.of(around).least(-slope).item()
    assert up == pytest.approx(0.4 + 8**0.5, abs=1e-4)


def test_a_search_over_the_region_can_be_differentiated():
    x = torch.rand(2, 6, generator=torch.Generator().manual_seed(0))
    region = Region.of(L2(0.5).at(x, DOMAIN))
    slope = torch.randn(2, 2, 6, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
    region.least(slope).sum().backward()
    step = 1e-6 * torch.randn(2, 2, 6, generator=torch.Generator().manual_seed(2)).double()
    moved = (region.least(slope + step) - region.least(slope)).sum()
    assert moved.item() == pytest.approx((slope.grad * step).sum().item(), rel=1e-3)


def test_sets_without_bounds_have_no_region_and_rows_can_be_taken():
    assert Region.of(Edits(1).at(("ab",), DOMAIN)) is None
    region = Region.of(L1(0.5).at(torch.rand(3, 4), DOMAIN))
    part = region.take(torch.tensor([2, 2]))
    assert len(part) == 2
    assert torch.equal(part.low[0], region.low[2])
    assert torch.equal(part.balls[0].centre[1], region.balls[0].centre[2])
    inside = region.within(region.low + 0.1, region.high)
    assert (inside.least(torch.ones(3, 1, 4).double()) >= region.least(torch.ones(3, 1, 4).double())).all()


@pytest.mark.parametrize("side", [0, 1, 2, 9])
def test_a_patch_is_enclosed_by_as_many_numbers(side):
    """Exact for one pixel of one channel; never above what painting any square worst gives."""
    generator = torch.Generator().manual_seed(side)
    x = torch.rand(3, 1, 4, 5, generator=generator)
    around = Patch(side).at(x, DOMAIN)
    region = Region.of(around)
    slope = torch.randn(3, 2, 1, 4, 5, generator=generator).double()
    found = region.least(slope)
    still = (slope * x.double()[:, None]).flatten(2).sum(2)
    drop = torch.where(slope > 0, slope * x.double()[:, None], -slope * (1 - x.double()[:, None]))
    window = min(side, 4), min(side, 5)
    places = (
        torch.nn.functional.avg_pool2d(drop[:, :, 0], window, 1) * window[0] * window[1] if side else drop[:, :, 0] * 0
    )
    worst = still - places.flatten(2).amax(2)
    assert (found <= worst).all()
    if side in (0, 1, 9):
        assert torch.allclose(found, worst, atol=1e-5)
    for draw in range(30):
        z = around.sample(keys.from_ids(draw, list("abc"))).double()
        assert ((slope * z[:, None]).flatten(2).sum(2) >= found).all()
