"""The least change onto a plane within bounds: against linear programs, the optimality conditions, and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from robustly.core.errors import UsageError
from robustly.steps.hyperplane import DUAL, Bounds, length, onto_plane, order_of, step_towards, widest
from robustly.threats import L0, L2, Domain, Linf

INF = float("inf")


def planes(count=60, n=7, seed=0):
    """Points in [0, 1], values and slopes of which some entries are 0, some points are at the bounds."""
    g = torch.Generator().manual_seed(seed)
    z = torch.rand(count, n, generator=g)
    z = torch.where(torch.rand(count, n, generator=g) < 0.2, z.round(), z)
    slope = torch.randn(count, n, generator=g) * torch.rand(count, 1, generator=g) ** 3 * 10
    slope = torch.where(torch.rand(count, n, generator=g) < 0.15, 0, slope)
    value = torch.randn(count, generator=g) * length(slope, 1.0) / 3
    return z, value, slope, Bounds(torch.zeros_like(z), torch.ones_like(z))


def reachable(z, value, slope):
    room = torch.where(slope * value[:, None] > 0, z, 1 - z)
    return (slope.abs() * room).sum(1) >= value.abs()


@pytest.mark.parametrize("p", [INF, 2.0, 1.0])
def test_the_plane_is_met_within_the_bounds_or_the_corner_is(p):
    z, value, slope, within = planes()
    d = onto_plane(z, value, slope, within, p)
    left, scale = value + (slope * d).sum(1), value.abs()
    can = reachable(z, value, slope)
    assert 10 < can.sum() < 55
    assert ((z + d >= -1e-6) & (z + d <= 1 + 1e-6)).all()
    assert (left.abs()[can] <= 1e-5 * scale[can].clamp_min(1e-3)).all()
    corner = torch.where(slope * value[:, None] > 0, -z, 1 - z) * (slope != 0)
    assert torch.allclose(d[~can], corner[~can], atol=1e-6)


@pytest.mark.parametrize("p", [INF, 1.0])
def test_no_change_is_shorter_by_linear_programming(p):
    z, value, slope, within = planes()
    size = length(onto_plane(z, value, slope, within, p), p)
    for i in reachable(z, value, slope).nonzero().squeeze(1).tolist():
        assert size[i].item() == pytest.approx(_least(z[i].double(), value[i].item(), slope[i].double(), p), rel=1e-4)


def _least(z, value, slope, p):
    """The shortest d by a linear program in (d, t): |d_i| <= t_i, and t_i all one number for linf."""
    n = len(z)
    one = np.eye(n)
    tail = -np.ones((n, 1)) if p == INF else -one
    above = np.block([[one, tail], [-one, tail]])
    cost = np.concatenate((np.zeros(n), np.ones(tail.shape[1])))
    limits = [(-v, 1 - v) for v in z.tolist()] + [(0, None)] * tail.shape[1]
    equal = np.concatenate((slope.numpy(), np.zeros(tail.shape[1])))[None]
    return linprog(cost, above, np.zeros(2 * n), equal, [-value], limits).fun


def test_the_l2_change_is_a_clipped_multiple_of_the_slope():
    z, value, slope, within = planes()
    d = onto_plane(z, value, slope, within, 2.0)
    free = (slope != 0) & (z + d > 1e-4) & (z + d < 1 - 1e-4)
    for i in reachable(z, value, slope).nonzero().squeeze(1).tolist():
        ratio = (d[i] / slope[i])[free[i]]
        stuck = (d[i] / slope[i])[~free[i] & (slope[i] != 0)]
        if len(ratio):  # its optimality conditions: one multiplier where free, no larger a change where at a bound
            assert torch.allclose(ratio, ratio[:1].expand_as(ratio), rtol=1e-3, atol=1e-6)
            assert (stuck.abs() <= ratio[0].abs() * (1 + 1e-3) + 1e-6).all()


@pytest.mark.parametrize("p", [INF, 2.0, 1.0])
def test_without_bounds_the_length_is_value_over_dual_norm(p):
    z, value, slope, _ = planes()
    endless = Bounds(torch.full_like(z, -INF), torch.full_like(z, INF))
    d = onto_plane(z, value, slope, endless, p)
    assert torch.allclose(length(d, p), value.abs() / length(slope, DUAL[p]), rtol=1e-4)
    assert torch.allclose((slope * d).sum(1), -value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("p", [INF, 2.0, 1.0])
def test_no_slope_or_no_value_moves_nothing(p):
    z, value, slope, within = planes(5)
    assert not onto_plane(z, value, torch.zeros_like(slope), within, p).any()
    assert not onto_plane(z, torch.zeros_like(value), slope, within, p).any()


@pytest.mark.parametrize("p", [INF, 2.0, 1.0])
def test_a_row_has_the_same_bits_alone_and_in_any_scale_of_its_function(p):
    z, value, slope, within = planes(40, 50)
    whole = onto_plane(z, value, slope, within, p)
    for i in range(5):
        row = slice(i, i + 1)
        alone = onto_plane(z[row], value[row], slope[row], Bounds(within.low[row], within.high[row]), p)
        assert torch.equal(alone, whole[row])
    assert torch.equal(onto_plane(z, 2.0**-60 * value, 2.0**-60 * slope, within, p), whole)


@pytest.mark.parametrize("p", [INF, 2.0, 1.0])
def test_both_ends_step_onto_one_plane(p):
    z, value, slope, within = planes()
    x = z.flip(0)
    own, other = step_towards(z, x, value, slope, within, p)
    at_x = value + (slope * (x - z)).sum(1)
    assert torch.equal(own, onto_plane(z, value, slope, within, p))
    assert torch.equal(other, onto_plane(x, at_x, slope, within, p))


def test_the_widest_bounds_are_those_of_the_domain_and_the_mask():
    x = torch.full((2, 3), 0.5)
    mask = torch.tensor([True, False, True])
    within = widest(Linf(0.1, mask).at(x, Domain(0.0, 1.0)))
    assert within.low.tolist() == [[0, 0.5, 0]] * 2
    assert within.high.tolist() == [[1, 0.5, 1]] * 2


def test_the_order_of_a_set():
    x = torch.zeros(1, 3)
    assert order_of(L2(1.0).at(x), "fab") == 2
    with pytest.raises(UsageError, match="fab works in linf, l2 and l1 balls, not in L0Ball"):
        order_of(L0(1).at(x), "fab")
