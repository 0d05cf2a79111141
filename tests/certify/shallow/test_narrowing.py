"""Ranges where a linear function is at most zero: they keep all such points, and are close to what a linear program says."""

import pytest
import torch
from scipy.optimize import linprog

from robustly.certify.linear.region import Region
from robustly.certify.shallow.narrowing import narrowed


def case(seed: int, scale: float = 1.0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    low = scale * draw(3, 6)
    region = Region(low, low + scale * draw(3, 6).abs())
    matrix, start, slope = draw(5, 6), draw(5), draw(3, 6)
    middle = (region.low + region.high) / 2
    reach = ((region.high - region.low) / 2 * slope.abs()).sum(1)
    offset = -(slope * middle).sum(1) + 0.6 * reach  # a fifth of the way up from the least
    return region, matrix, start, slope, offset


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5])
@pytest.mark.parametrize("seed", range(4))
def test_ranges_hold_and_are_near_the_linear_program(seed, scale):
    region, matrix, start, slope, offset = case(seed, scale)
    box = narrowed(region, (matrix, start), (matrix, start), slope, offset)
    plain = narrowed(region, (matrix, start), (matrix, start), torch.zeros_like(slope), torch.zeros_like(offset))
    lost = gained = 0.0
    for i in range(3):
        ends = torch.stack((region.low[i], region.high[i]), 1).numpy()
        for k in range(5):
            found = []
            for sign in (1, -1):
                best = linprog(
                    sign * matrix[k].numpy(), A_ub=slope[i : i + 1].numpy(), b_ub=[-float(offset[i])], bounds=ends
                )
                assert best.status == 0
                found.append(sign * best.fun + float(start[k]))
            wide = float(plain.high[i, k] - plain.low[i, k])
            assert box.low[i, k] <= found[0] + 1e-9 * wide
            assert box.high[i, k] >= found[1] - 1e-9 * wide
            lost += (found[0] - float(box.low[i, k])) + (float(box.high[i, k]) - found[1])
            gained += wide - (found[1] - found[0])
    assert lost < 0.4 * gained


def test_every_point_is_kept_to_the_last_bit():
    region, matrix, start, slope, offset = case(7)
    box = narrowed(region, (matrix, start), (matrix, start), slope, offset)
    share = torch.rand(20000, 3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    points = region.low + share.round() * (region.high - region.low)
    inside = (points * slope).sum(2) + offset <= 0
    value = points @ matrix.T + start
    assert inside.any(0).all()
    assert ((value >= box.low) | ~inside[..., None]).all()
    assert ((value <= box.high) | ~inside[..., None]).all()


def test_a_function_that_is_nowhere_below_zero_leaves_nothing():
    region, matrix, start, slope, offset = case(3)
    box = narrowed(region, (slope[:1], offset[:1]), (slope[:1], offset[:1]), slope, offset + 1e3)
    assert (box.low[0] > box.high[0]).all()
    wide = narrowed(region, (matrix, start), (matrix, start), slope * torch.nan, offset)
    assert (wide.low < wide.high).all()
