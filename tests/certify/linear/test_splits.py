"""Sub-problems: sound where the splits hold, tighter by the worth of a split, empty where nothing is left."""

import pytest
import torch
from tests.certify.linear.networks import CLASSES, SIDE, network
from tests.certify.linear.test_crown import network as mlp

from robustly.certify.linear.bounds import Specs, bounds
from robustly.certify.linear.crown import crown
from robustly.certify.linear.lowering.lower import lower
from robustly.certify.linear.region import Region
from robustly.certify.linear.slopes import optimise


def split_on_widest(program, enclosure, sign, nodes):
    """Signs for the widest open number of each of some nodes; the numbers."""
    splits, places = {}, {}
    for node in nodes:
        box = enclosure.boxes[program.switches[node]]
        width = torch.where((box.low < 0) & (box.high > 0), box.high - box.low, -1).flatten(1)
        places[node] = int(width[0].argmax())
        signs = torch.zeros_like(width, dtype=torch.int8)
        signs[:, places[node]] = sign
        splits[node] = signs.view(box.low.shape)
    return splits, places


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("seed", range(3))
def test_a_part_is_bounded_where_it_is(sign, seed):
    net = mlp((4, 12, 12, 3), seed)
    program, region = lower(net, (4,)), Region(torch.full((1, 4), -0.5).double(), torch.full((1, 4), 0.5).double())
    specs = Specs(torch.eye(3, dtype=torch.float64)[None], torch.zeros(1, 3, dtype=torch.float64))
    with torch.no_grad():
        whole = crown(program, region)
        splits, places = split_on_widest(program, whole, sign, list(program.switches)[:1])
        half = crown(program, region, whole, splits)
        clamped = whole.split(program, splits)
        plain, _ = bounds(program, region, half, specs)
        tuned = optimise(program, region, half, specs, 30, splits, enough=torch.inf)
        without = optimise(program, region, half, specs, 30, enough=torch.inf)
    x = (
        region.low
        + (region.high - region.low) * torch.rand(20_000, 4, generator=torch.Generator().manual_seed(seed)).double()
    )
    inner = program.values(x)
    inside = torch.stack([sign * inner[program.switches[n]][:, places[n]] >= 0 for n in splits]).all(0)
    seen = inner[-1][inside].amin(0)
    assert inside.any()
    assert not half.empty.any()
    for found in (plain, tuned.lower, bounds(program, region, clamped, specs)[0]):
        assert (seen >= found[0]).all()
    assert (tuned.lower >= plain).all()
    assert (tuned.lower >= without.lower - 0.02).all()  # two searches of thirty steps
    for number, box in half.boxes.items():
        assert (box.low >= whole.boxes[number].low).all()
        assert (box.high <= whole.boxes[number].high).all()


def test_the_multiplier_of_a_split_closes_the_gap_that_slopes_leave():
    """x >= 0 known, x - relu(x) / 2 >= 3 x / 4 - 1 / 4 by the chord: -1 over [-1, 1], -1 / 4 with a multiplier of 3 / 4."""
    net = torch.nn.Sequential(
        torch.nn.Linear(1, 2, bias=False), torch.nn.ReLU(), torch.nn.Linear(2, 1, bias=False)
    ).eval()
    net[0].weight.data = torch.tensor([[1.0], [1.0]])
    net[2].weight.data = torch.tensor([[1.0, -0.5]])  # relu(x) / 2, whose least is 0
    program = lower(net.requires_grad_(False), (1,))
    region = Region(torch.tensor([[-1.0]]).double(), torch.tensor([[1.0]]).double())
    specs = Specs(torch.ones(1, 1, 1).double(), torch.zeros(1, 1).double())
    (node,) = program.switches
    splits = {node: torch.tensor([[1, 0]], dtype=torch.int8)}  # the first alone; the second is the same number
    with torch.no_grad():
        half = crown(program, region, splits=splits)
        plain = bounds(program, region, half, specs)[0].item()
        tuned = optimise(program, region, half, specs, 60, splits, enough=torch.inf).lower.item()
    assert plain == pytest.approx(-1, abs=1e-5)
    assert tuned == pytest.approx(-0.25, abs=0.01)
    assert tuned <= 0


def test_splits_that_nothing_meets_are_found_empty_and_say_infinity():
    net = mlp((3, 6, 2), 0)
    net[0].bias.data.fill_(5.0)  # all of them on
    program, region = lower(net, (3,)), Region(torch.zeros(2, 3).double(), torch.full((2, 3), 0.1).double())
    (node,) = program.switches
    off = torch.zeros(2, 6, dtype=torch.int8)
    off[0, 2] = -1
    specs = Specs(torch.eye(2).double().expand(2, 2, 2), torch.zeros(2, 2).double())
    half = crown(program, region, splits={node: off})
    assert half.empty.tolist() == [True, False]
    found, _ = bounds(program, region, half, specs)
    assert torch.isinf(found[0]).all()
    assert torch.isfinite(found[1]).all()


def test_the_maxima_of_a_pool_can_be_split_too():
    net = network("pools", 0)
    program = lower(net, (2, SIDE, SIDE))
    x = torch.full((1, 2, SIDE, SIDE), 0.5).double()
    region = Region(x - 0.3, x + 0.3)
    pools = [n for n in program.switches if program.nodes[n].rule.name == "maximum"]
    assert pools
    specs = Specs(torch.eye(CLASSES).double()[None], torch.zeros(1, CLASSES).double())
    with torch.no_grad():
        whole = crown(program, region)
        for sign in (1, -1):
            splits, places = split_on_widest(program, whole, sign, pools[:1])
            found = optimise(program, region, crown(program, region, whole, splits), specs, 5, splits).lower
            z = region.low + 0.6 * torch.rand(3000, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).double()
            inner = program.values(z)
            where = sign * inner[program.switches[pools[0]]].flatten(1)[:, places[pools[0]]] >= 0
            assert where.any()
            assert (inner[-1][where].amin(0) >= found[0]).all()
