"""Ranges by windows are those of the ordinary backward pass, for less work."""

from dataclasses import replace

import pytest
import torch
from tests.certify.linear.networks import SIDE, network
from torch import nn

from robustly.certify.linear.crown import crown
from robustly.certify.linear.lowering.lower import lower
from robustly.certify.linear.program import Affine, Program
from robustly.certify.linear.region import Region
from robustly.threats import L2, Domain, Linf


class Joined(nn.Module):
    """Paths of different reach from one layer, and a shortcut of stride two, between an even and an odd kernel."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 3, 4, 2, 1)
        self.wide, self.thin = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(3, 4, 1, 2)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(4 * 16, 3)

    def forward(self, x):
        h = torch.relu(self.first(x))
        h = torch.relu(self.norm(self.wide(h) - self.thin(h)))
        return self.head(torch.relu(h + 0.1 * torch.tanh(h)).flatten(1))


def stack(*layers, size):
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(size, 3))


NETWORKS = {
    "strided": (lambda: stack(nn.Conv2d(2, 4, 4, 2, 1), nn.ReLU(), nn.Conv2d(4, 5, 4, 2, 1), nn.ReLU(), size=80), 16),
    "uneven": (
        lambda: stack(nn.Conv2d(2, 4, (3, 2), (2, 1), (2, 0)), nn.ReLU(), nn.Conv2d(4, 4, 3, 3, 2), nn.ReLU(), size=96),
        16,
    ),
    "dilated": (lambda: stack(nn.Conv2d(2, 4, 2), nn.Tanh(), nn.Conv2d(4, 4, 2, 1, 1, 3, 2), nn.ReLU(), size=784), 16),
    "plain": (lambda: stack(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, 1, 2), nn.ReLU(), size=4 * 16 * 16), 16),
    "joined": (Joined, 16),
}


def drawn(kind):
    make, side = NETWORKS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(len(kind))
        net = make()
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.3, 2)
    return net.eval().requires_grad_(False), (2, side, side)


def whole(program):
    """The program with every map read in full."""
    nodes = (
        replace(n, maps=tuple(replace(m, local=None) for m in n.maps)) if isinstance(n, Affine) else n
        for n in program.nodes
    )
    return Program(tuple(nodes))


def same(one, two, unrounded):
    for number in one.boxes:
        for a, b in zip(one.boxes[number], two.boxes[number], strict=True):
            assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)
        assert torch.equal(one.rounding[number] > 0, two.rounding[number] > 0) or unrounded


@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.4)], ids=str)
@pytest.mark.parametrize("kind", list(NETWORKS))
def test_ranges_are_those_of_the_ordinary_pass(kind, threat):
    net, shape = drawn(kind)
    program = lower(net, shape)
    near = [i for i in program.bounded if program.windows(i) is not None]
    assert near
    assert all(program.work[i] < whole(program).work[i] for i in near)
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))
    region = Region.of(threat.at(x, Domain(0, 1)))
    found, plain = crown(program, region), crown(whole(program), region)
    same(found, plain, False)
    intervals = crown(program, region, skip=frozenset(program.bounded))
    last = max(program.bounded)
    assert (found.boxes[last].high < intervals.boxes[last].high - 1e-6).any()
    one = crown(program, region.take(torch.tensor([1])))
    for number, box in one.boxes.items():
        assert torch.allclose(box.low[0], found.boxes[number].low[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["residual", "branches", "pools"])
@pytest.mark.parametrize("seed", [0, 3, 5])
def test_so_are_those_of_networks_that_are_local_in_part(kind, seed):
    net = network(kind, seed)
    program = lower(net, (2, SIDE, SIDE))
    x = torch.rand(2, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    region = Region.of(Linf(0.1).at(x, Domain(0, 1)))
    same(crown(program, region), crown(whole(program), region), False)


def test_the_ends_of_the_box_move_a_range_by_windows_as_they_do_otherwise():
    net, shape = drawn("strided")
    program = lower(net, shape)
    x = torch.rand(1, *shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = []
    for one in (program, whole(program)):
        low, high = (x - 0.1).requires_grad_(), (x + 0.1).requires_grad_()
        last = crown(one, Region(low, high)).boxes[max(one.bounded)]
        found.append(torch.cat(torch.autograd.grad((last.high - last.low).sum(), (low, high))))
    assert torch.allclose(*found, rtol=1e-8, atol=1e-10)
    assert found[0].abs().sum() > 0


def test_a_window_that_is_most_of_a_layer_is_none():
    net = nn.Sequential(nn.Conv2d(2, 3, 5, padding=2), nn.ReLU(), nn.Conv2d(3, 3, 5, padding=2), nn.ReLU())
    program = lower(net.eval().requires_grad_(False), (2, 6, 6))
    assert all(program.windows(i) is None for i in program.bounded)
