"""A single layer of ReLUs: what is proven is what a mixed-integer program says, of every kind of question."""

import pytest
import torch
from torch import nn

from robustly.certify.linear.bounds import Specs
from robustly.certify.linear.lowering.lower import lower
from robustly.certify.linear.region import NormBall, Region
from robustly.certify.milp import least_excess
from robustly.certify.questions import Questions
from robustly.certify.shallow.search import split_layer
from robustly.certify.types import UnsupportedOperator
from robustly.core.errors import UsageError


class Beside(nn.Module):
    """Two layers of ReLUs side by side, and the input past them."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.past = nn.Linear(4, 9), nn.Linear(4, 7), nn.Linear(4, 2)
        self.out = nn.Linear(16, 2)

    def forward(self, x):
        return self.out(torch.cat((self.one(x).relu(), self.two(x).relu()), 1)) + self.past(x)


def network(seed: int, beside: bool = False) -> nn.Module:
    torch.manual_seed(seed)
    net = Beside() if beside else nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 2))
    return net.requires_grad_(False).eval()


def asked(offsets: list[list[float]], size: float = 2.0) -> Questions:
    """y_0 - y_1 + offset <= 0 (and, of two, y_1 + offset <= 0) over boxes around zero, each larger than the one before."""
    count, rows = len(offsets), len(offsets[0])
    weights = torch.tensor([[1.0, -1.0], [0.0, 1.0]], dtype=torch.float64)[:rows].expand(count, rows, 2)
    sides = size * torch.linspace(1, 1.5, count, dtype=torch.float64)[:, None].expand(count, 4)
    return Questions(-sides, sides, weights, torch.tensor(offsets, dtype=torch.float64))


def searched(net, questions, look=lambda points, owner: False, over=lambda: False, **more):
    program = lower(net, (4,))
    specs = Specs(questions.rows, questions.offsets)
    return split_layer(program, Region(questions.lower, questions.upper), specs, look, over, **more)


def shifted(net, questions: Questions, by: float) -> Questions:
    """The same with offsets such that the least excess of each is `by`."""
    least = torch.tensor([least_excess(net, questions, i).least for i in range(len(questions))], dtype=torch.float64)
    return Questions(questions.lower, questions.upper, questions.rows, questions.offsets - least[:, None] + by)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("offsets", [[[0.0]], [[0.0, 0.3]], [[0.0], [0.1], [0.0]]])
def test_what_is_proven_is_what_a_mixed_integer_program_finds(seed, beside, offsets):
    net = network(seed, beside)
    questions = shifted(net, asked(offsets), 1e-3)
    found = searched(net, questions)
    if len(offsets[0]) == 1:
        assert found.end == "proven"
        assert found.proven.all()
    elif (
        found.end == "proven"
    ):  # of two rows one has to be above zero all over a sub-problem, and not every point has the same
        assert found.proven.all()
    broken, seen = shifted(net, asked(offsets), -1e-3), []

    def look(points, owner):
        y = net(points.float()).double()
        assert (points >= broken.lower[owner] - 1e-6).all()
        assert (points <= broken.upper[owner] + 1e-6).all()
        rows = (broken.rows[owner] @ y[..., None]).squeeze(-1) + broken.offsets[owner]
        seen.extend(owner[rows.amax(1) <= 0].tolist())
        return False

    found = searched(net, broken, look, most=4000)
    assert not found.proven.any()
    assert found.end in ("stuck", "time")
    assert found.worst <= 0
    if len(offsets[0]) == 1:
        assert set(seen) == set(range(len(offsets)))


def test_a_search_is_needed_and_narrowing_keeps_it_small(monkeypatch):
    net = network(1)
    questions = shifted(net, asked([[0.0]], 4.0), 1e-2)
    plain = searched(net, questions)
    assert plain.end == "proven"
    assert plain.boxes > 10

    def wide(region, under, over, slope, offset):
        low = torch.full((len(region), len(under[1])), -torch.inf, dtype=torch.float64)
        return type(region.box)(low, -low)

    monkeypatch.setattr("robustly.certify.shallow.search.narrowed", wide)
    without = searched(net, questions)
    assert without.end == "proven"
    assert plain.boxes < 0.9 * without.boxes


def test_it_stops_when_it_is_told():
    net = network(0)
    questions = shifted(net, asked([[0.0]], 4.0), 1e-3)
    asks = iter(range(2))
    found = searched(net, questions, over=lambda: next(asks, None) is None)
    assert (found.end, found.proven.any()) == ("time", False)
    assert found.open > 0
    assert searched(net, questions, most=1).end == "time"
    assert searched(net, questions, look=lambda points, owner: True).end == "found"


def test_of_two_questions_the_one_without_a_yes_is_proven():
    net = network(2)
    good, bad = shifted(net, asked([[0.0]]), 1e-2), shifted(net, asked([[0.0]]), -1e-2)
    both = Questions(*(torch.cat((getattr(good, k), getattr(bad, k))) for k in ("lower", "upper", "rows", "offsets")))
    assert searched(net, both, most=4000).proven.tolist() == [True, False]


def test_more_questions_than_fit_one_batch():
    net = network(3)
    questions = asked([[0.0]])
    many = shifted(net, questions, 1e-2).take(torch.zeros(3000, dtype=torch.long))
    assert searched(net, many).proven.all()


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 2)),
        nn.Linear(4, 2),
        nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.Tanh()),
    ],
)
def test_other_networks_are_refused(net):
    with pytest.raises(UnsupportedOperator, match="single layer"):
        searched(net.eval(), asked([[0.0]]))


def test_balls_are_refused():
    questions, program = asked([[0.0]]), lower(network(0), (4,))
    ball = NormBall("l2", torch.zeros(1, 4, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    region = Region(questions.lower, questions.upper, (ball,))
    with pytest.raises(UsageError, match="split_relus"):
        split_layer(program, region, Specs(questions.rows, questions.offsets), lambda p, o: False, lambda: False)
