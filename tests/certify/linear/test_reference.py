"""Interval and CROWN bounds against those of Marabou 2.0.0, committed as data (data/make_marabou.py made them)."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from robustly.certify.linear.bounds import Specs, bounds
from robustly.certify.linear.crown import crown
from robustly.certify.linear.enclosure import enclose
from robustly.certify.linear.lowering.lower import lower
from robustly.certify.linear.region import Region

CASES = json.loads((Path(__file__).parent / "data" / "marabou.json").read_text())["cases"]


def of(case):
    """The network, its region, and specs for both sides of every output."""
    layers = []
    for weight, bias in case["layers"]:
        layer = nn.Linear(len(weight[0]), len(weight)).double()
        layer.weight.data = torch.tensor(weight, dtype=torch.float64)
        layer.bias.data = torch.tensor(bias, dtype=torch.float64)
        layers += [layer, nn.ReLU()]
    net = nn.Sequential(*layers[:-1]).eval().requires_grad_(False)
    x = torch.tensor([case["x"]], dtype=torch.float64)
    return net, Region(x - case["eps"], x + case["eps"])


def outputs(net, region, ranged):
    """Bounds (2, K) of the outputs of the network in exact arithmetic."""
    program = lower(net, tuple(region.low.shape[1:])).unrounded()
    eye = torch.eye(program.nodes[-1].shape[0], dtype=torch.float64)
    specs = Specs(torch.cat((eye, -eye))[None], torch.zeros(1, 2 * len(eye), dtype=torch.float64))
    found, _ = bounds(program, region, ranged(program, region), specs)
    return torch.stack((found[0, : len(eye)], -found[0, len(eye) :]))


@pytest.mark.parametrize(("name", "ranged"), [("deeppoly", crown), ("none", enclose)])
@pytest.mark.parametrize("case", CASES)
def test_hidden_ranges_are_those_of_marabou(case, name, ranged):
    net, region = of(case)
    program = lower(net, tuple(region.low.shape[1:])).unrounded()
    found = ranged(program, region)
    for number, theirs in zip(program.bounded, case[name][:-1], strict=True):
        low, high = torch.tensor(theirs, dtype=torch.float64).T
        loose = (low < 0) & (high > 0)  # no line depends on the others, which stay at interval bounds
        box = found.boxes[number]
        assert torch.allclose(box.low[0][loose], low[loose], rtol=0, atol=1e-6)
        assert torch.allclose(box.high[0][loose], high[loose], rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_interval_bounds_of_the_outputs_are_those_of_marabou(case):
    net, region = of(case)
    with_last = nn.Sequential(*net, nn.ReLU())  # so that the outputs are values with a range
    program = lower(with_last, tuple(region.low.shape[1:])).unrounded()
    box = enclose(program, region).boxes[program.bounded[-1]]
    low, high = torch.tensor(case["none"][-1], dtype=torch.float64).T
    assert torch.allclose(box.low[0], low, rtol=0, atol=1e-6)
    assert torch.allclose(box.high[0], high, rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_crown_bounds_of_the_outputs_are_those_of_marabou(case):
    net, region = of(case)
    low, high = outputs(net, region, crown)
    plain = torch.tensor(case["none"][-1], dtype=torch.float64).T  # Marabou meets every bound with them
    theirs = torch.tensor(case["deeppoly"][-1], dtype=torch.float64).T
    assert torch.allclose(torch.maximum(low, plain[0]), theirs[0], rtol=0, atol=1e-6)
    assert torch.allclose(torch.minimum(high, plain[1]), theirs[1], rtol=0, atol=1e-6)
    assert ((theirs[0] - plain[0] > 1e-3) | (plain[1] - theirs[1] > 1e-3)).all()  # and they differ from intervals
