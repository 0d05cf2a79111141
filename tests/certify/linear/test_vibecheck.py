"""Interval and CROWN bounds against those of vibecheck-nn 1.1.0, committed as data (data/make_vibecheck.py made them)."""

import json
from pathlib import Path

import pytest
import torch
from tests.certify.linear.data.vibecheck_networks import network

from robustly.certify.crown import alpha_crown
from robustly.certify.linear.bounds import Specs, bounds
from robustly.certify.linear.crown import crown
from robustly.certify.linear.enclosure import enclose
from robustly.certify.linear.lowering.lower import lower
from robustly.certify.linear.region import Region
from robustly.goals import Goal
from robustly.oracle import Model
from robustly.threats import Domain, Linf

CASES = json.loads((Path(__file__).parent / "data" / "vibecheck.json").read_text())["cases"]
IDS = [f"{case['kind']} {case['seed']}" for case in CASES]


def of(case):
    """The network, its program in exact arithmetic and the region."""
    net, x = network(case["kind"], case["seed"])
    kept = sum(v.double().abs().sum().item() for v in net.state_dict().values())
    assert kept == pytest.approx(case["weights"], rel=1e-12)  # the random numbers are those that were bounded
    region = Region(x.double() - case["eps"], x.double() + case["eps"])
    return net, x, lower(net, tuple(x.shape[1:])).unrounded(), region


def ends(lower_bounds):
    """(2, K) of bounds on every output and on its negative."""
    half = lower_bounds.shape[1] // 2
    return torch.stack((lower_bounds[0, :half], -lower_bounds[0, half:]))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_bounds_are_those_of_vibecheck(case):
    net, _, program, region = of(case)
    eye = torch.eye(program.nodes[-1].shape[0], dtype=torch.float64)
    specs = Specs(torch.cat((eye, -eye))[None], torch.zeros(1, 2 * len(eye), dtype=torch.float64))
    plain, tight = (torch.tensor(case[k], dtype=torch.float64) for k in ("interval", "crown"))
    hidden = enclose(program, region)
    last = hidden.boxes[max(hidden.boxes)]  # intervals end with the last layer's on the ranges before it
    rectified = last.low.clamp_min(0).flatten(), last.high.clamp_min(0).flatten()
    middle, radius = (rectified[0] + rectified[1]) / 2, (rectified[1] - rectified[0]) / 2
    w, b = net.d.weight.double(), net.d.bias.double()
    own = torch.stack((w @ middle + b - w.abs() @ radius, w @ middle + b + w.abs() @ radius))
    assert torch.allclose(own, plain, rtol=0, atol=1e-5)
    found = ends(bounds(program, region, crown(program, region), specs)[0])
    assert torch.allclose(found, tight, rtol=0, atol=1e-5)
    assert (tight - plain).abs().amax() > 1e-2  # and they differ from intervals


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_no_verdict_is_at_odds_with_vibecheck(case):
    """Whether the first output stays above a threshold, here as a margin against a second one that is the threshold."""
    net, x, _, _ = of(case)
    told = dict(case["verdicts"])
    assert set(told.values()) <= {"sat", "unsat", "unknown"}
    for limit, verdict in told.items():
        both = Against(net, limit).eval()
        model = Model(call=both, module=both, domain=Domain())
        around = Linf(case["eps"]).at(x, Domain())
        goal = Goal(torch.tensor([0]))
        mine = bool(alpha_crown(10)(model, around, goal).certified)
        least = min(float(goal.margin(both(z))) for z in corners(around))
        assert not (mine and verdict == "sat")
        assert not (verdict == "unsat" and least <= 0)
        assert not (mine and least <= 0)
    assert mine == (verdict == "unsat")  # the last threshold is well below every bound


class Against(torch.nn.Module):
    def __init__(self, net, limit):
        super().__init__()
        self.net, self.last = net, torch.nn.Linear(net.d.out_features, 2)
        with torch.no_grad():
            self.last.weight.zero_()[0, 0] = 1
            self.last.bias.copy_(torch.tensor([0.0, limit]))
        self.requires_grad_(False)

    def forward(self, x):
        return self.last(self.net(x))


def corners(around):
    """Members that a random linear function sends to corners."""
    g = torch.Generator().manual_seed(0)
    return [around.linear_max(torch.randn(around.x.shape, generator=g)) for _ in range(200)]
