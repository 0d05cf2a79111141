"""Bounds enclose what float32 computes, in any order of summation, and cost little."""

import torch
from tests.certify.linear.networks import CLASSES, KINDS, SIDE, network
from torch import nn

from robustly.certify.linear.bounds import Specs, bounds
from robustly.certify.linear.crown import crown
from robustly.certify.linear.lowering.lower import lower
from robustly.certify.linear.region import Region

SHAPE = (2, SIDE, SIDE)


def single(net, x):
    """Bounds of every score, from both sides, over a box that is one point: all that is left is rounding."""
    program, region = lower(net, tuple(x.shape[1:])), Region(x.double(), x.double())
    count = program.nodes[-1].shape[0]
    eye = torch.eye(count, dtype=torch.float64)
    specs = Specs(torch.cat((eye, -eye)).expand(len(x), -1, -1), torch.zeros(len(x), 2 * count, dtype=torch.float64))
    with torch.no_grad():
        found, _ = bounds(program, region, crown(program, region), specs)
    return found[:, :count], -found[:, count:]


def test_at_a_point_every_network_answers_within_its_bounds_which_are_narrow():
    for kind in KINDS:
        for seed in range(12):
            net = network(kind, seed)
            x = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(seed))
            low, high = single(net, x)
            for part in (x, x[:1], x[:3]):
                seen = net(part).double()
                assert (low[: len(part)] <= seen).all()
                assert (seen <= high[: len(part)]).all()
            assert ((high - low) <= 2e-3 * (1 + low.abs())).all(), kind


def test_any_order_of_a_long_sum_stays_within():
    """Terms that cancel: partial sums of shuffled orders, in float32, differ in the third digit and stay inside."""
    generator = torch.Generator().manual_seed(0)
    width = 3000
    net = nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, 1)).requires_grad_(False).eval()
    net[0].weight.data.fill_(0)
    net[0].bias.data = 1000 * torch.rand(width, generator=generator)
    net[2].weight.data = torch.randn(1, width, generator=generator)
    low, high = single(net, torch.zeros(1, 1))
    products = net[2].weight[0] * net[0].bias.clamp_min(0)
    sums = set()
    for seed in range(30):
        order = torch.randperm(width, generator=torch.Generator().manual_seed(seed))
        total = net[2].bias[0].clone()
        for term in products[order]:
            total = total + term
        sums.add(total.item())
        assert low.item() <= total.item() <= high.item()
    assert len(sums) > 20
    assert max(sums) - min(sums) > 1e-2


def test_exact_arithmetic_is_left_when_rounding_is_left_out():
    net = network("dense", 0)
    x = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    program = lower(net, SHAPE).unrounded()
    region = Region(x.double(), x.double())
    specs = Specs(torch.eye(CLASSES).double().expand(3, -1, -1), torch.zeros(3, CLASSES).double())
    found, _ = bounds(program, region, crown(program, region), specs)
    exact = program(x.double())
    assert (found <= exact).all()
    assert (exact - found).max() < 1e-7
