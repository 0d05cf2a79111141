"""Sine, cosine, sign and floor: their ranges and planes enclose them at every point of random boxes, and are not just anything."""

import pytest
import torch
from torch import nn

from robustly.certify.linear.periodic import COSINE, SINE
from robustly.certify.linear.rules import Box, widened
from robustly.certify.linear.steps import FLOOR, SIGN
from robustly.certify.lines import lines
from robustly.certify.questions import Questions

RULES = {"sin": (SINE, 0.6), "cos": (COSINE, 0.6), "sign": (SIGN, 0.5), "floor": (FLOOR, 0.8)}
EDGES = [
    (0.0, 0.0),
    (-1.0, 0.0),
    (0.0, 1.0),
    (-1.0, 1.0),
    (-2e4, -2e4 + 3),
    (3.0, 3.0 + 6.3),
    (-1e-9, 1e-9),
    (2.0, 3.0),
]


def boxes() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    low = 20 * (torch.rand(800, generator=draw, dtype=torch.float64) - 0.5)
    high = low + 8 * torch.rand(800, generator=draw, dtype=torch.float64) ** 3
    edges = torch.tensor(EDGES, dtype=torch.float64)
    return torch.cat((edges[:, 0], low)), torch.cat((edges[:, 1], high))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("choice", [None, 0.0, 0.3, 1.0])
def test_planes_and_ranges_enclose(name, choice):
    rule, gap = RULES[name]
    low, high = boxes()
    box = Box(low[:, None], high[:, None])
    x = low[:, None] + (high - low)[:, None] * torch.linspace(0, 1, 201, dtype=torch.float64)
    x = torch.cat((x, low[:, None], high[:, None]), 1).clamp(low[:, None], high[:, None])
    value, found = rule.value(x), rule.range([box])
    assert (found.low <= value).all()
    assert (value <= found.high).all()
    given = None if choice is None or rule.start is None else torch.full((len(low), 1, 1), choice, dtype=torch.float64)
    planes = widened(rule.planes([box], given), [box])
    below = planes.low[0][:, 0] * x + planes.low_offset[:, 0]
    above = planes.high[0][:, 0] * x + planes.high_offset[:, 0]
    assert (below <= value).all()
    assert (value <= above).all()
    if choice is None:
        assert float((above - below)[8:].mean()) < gap


@pytest.mark.parametrize("name", RULES)
def test_a_box_of_nothing_known_stays_unknown(name):
    rule, _ = RULES[name]
    box = Box(torch.full((1, 1), torch.nan).double(), torch.full((1, 1), torch.nan).double())
    assert torch.isnan(rule.range([box]).low).all()
    assert torch.isnan(rule.range([box]).high).all()
    planes = widened(rule.planes([box], None), [box])
    assert torch.isnan(planes.low_offset).all()
    assert torch.isnan(planes.high_offset).all()


class Turning(nn.Module):
    """sin, cos, sign and floor of linear functions, times one another."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        y = self.a(x)
        return self.b(torch.sin(3 * y) * torch.cos(y) + torch.sign(y) - torch.floor(2 * y))


def test_a_network_of_them_is_enclosed():
    torch.manual_seed(0)
    net = Turning().eval()
    bound = lines(net, 3)
    middle = torch.randn(20, 3).double()
    rows = torch.cat((torch.eye(2), -torch.eye(2))).double().expand(20, 4, 2)
    least = bound(Questions(middle - 0.1, middle + 0.1, rows, torch.zeros(20, 4).double())).least
    for _ in range(20):
        x = (middle + 0.2 * (torch.rand(20, 3) - 0.5)).float()
        with torch.no_grad():
            values = torch.einsum("nrk,nk->nr", rows, net(x).double())
        assert (values >= least).all()
    assert torch.isfinite(least).all()


@pytest.mark.parametrize("exponent", [-1, 0.5, 3, 4])
def test_powers_are_enclosed(exponent):
    class Power(nn.Module):
        def forward(self, x):
            return torch.pow(x, exponent)

    low = torch.tensor([[0.2, 0.9], [1.5, 3.0]]).double()
    high = low + torch.tensor([[0.5, 0.01], [1.0, 0.2]]).double()
    rows = torch.cat((torch.eye(2), -torch.eye(2))).double().expand(2, 4, 2)
    least = lines(Power().eval(), 2)(Questions(low, high, rows, torch.zeros(2, 4).double())).least
    for share in torch.linspace(0, 1, 21):
        x = torch.minimum(torch.maximum((low + share * (high - low)).float(), low.float()), high.float())
        values = torch.einsum("nrk,nk->nr", rows, torch.pow(x, exponent).double())
        assert (values >= least - 1e-6 * values.abs()).all()
    ends = torch.pow(torch.stack((low, high)), exponent)
    assert float((ends.amin(0) - least[:, :2]).max()) < 0.35 * float((ends[1] - ends[0]).abs().max()) + 1e-3
