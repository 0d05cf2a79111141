"""Branch and bound on inputs: agrees with exhaustive truth and with mixed-integer programs, and stops as it says."""

import pytest
import torch
from torch import nn

from robustly.certify.boxes import boxes
from robustly.certify.lines import forward_lines, lines, sensitive_lines, tuned_lines
from robustly.certify.milp import least_excess
from robustly.certify.questions import Questions
from robustly.certify.splitting import clipped, split_inputs
from robustly.certify.types import UnsupportedOperator
from robustly.core.errors import UsageError


def network(seed: int, inputs: int = 3, width: int = 10, outputs: int = 2) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)]
    return nn.Sequential(*layers).requires_grad_(False).eval()


def asked(offsets: list[list[float]], inputs: int = 3, rows: int = 1) -> Questions:
    """y_0 - y_1 + offset <= 0 (and for a second row y_1 + offset <= 0) over [-1, 1]^n."""
    count = len(offsets)
    weights = torch.tensor([[1.0, -1.0], [0.0, 1.0]], dtype=torch.float64)[:rows].expand(count, rows, 2)
    ones = torch.ones(count, inputs, dtype=torch.float64)
    return Questions(-ones, ones, weights, torch.tensor(offsets, dtype=torch.float64))


def never(*args) -> bool:
    return False


def grid(net: nn.Module, rows: int = 1) -> torch.Tensor:
    axis = torch.linspace(-1, 1, 41)
    points = torch.cartesian_prod(axis, axis, axis)
    y = net(points).double()
    return torch.stack((y[:, 0] - y[:, 1], y[:, 1]), 1)[:, :rows]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("make", [sensitive_lines, forward_lines, boxes])
def test_what_is_proven_is_what_a_mixed_integer_program_finds(seed, make):
    net = network(seed)
    least = least_excess(net, asked([[0.0]]))
    assert least.solved
    assert abs(least.least - float(grid(net).min())) < 0.2
    assert least.least <= float(grid(net).min()) + 1e-6  # the optimum is below every point of a grid
    shift = 0.2 if make is boxes else 0.02
    questions = asked([[-least.least + shift], [-least.least - 0.02]])
    hits = []

    def look(points, owner):
        y = net(points.float()).double()
        values = (questions.rows[owner] @ y[..., None]).squeeze(-1) + questions.offsets[owner]
        hits.extend(owner[values.amax(1) <= 0].tolist())
        return False

    found = split_inputs(questions.take(torch.tensor([0])), make(net, 3), never, never)
    assert found.end == "proven"
    assert found.boxes > 1
    budget = iter(range(40))
    found = split_inputs(questions, make(net, 3), look, lambda: next(budget, None) is None)
    assert not found.proven[1]
    assert 0 not in hits
    if make is not boxes:
        assert 1 in hits


def test_the_optimum_has_a_point_and_it_is_where_the_network_says():
    net = network(3)
    found = least_excess(net, asked([[0.0, 0.25]], rows=2))
    y = net(found.point.float()[None]).double()[0]
    assert abs(max(float(y[0] - y[1]), float(y[1]) + 0.25) - found.least) < 1e-4
    assert found.least <= float((grid(net, 2) + torch.tensor([0.0, 0.25])).amax(1).min()) + 1e-6


def test_mixed_integer_programs_of_pools_and_leaky_units():
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.out = nn.Conv2d(1, 2, 2), nn.Linear(2, 2)

        def forward(self, x):
            h = nn.functional.leaky_relu(self.conv(x.reshape(-1, 1, 3, 3)), 0.1)
            return self.out(nn.functional.max_pool2d(h, 2).flatten(1))

    net = Net().requires_grad_(False).eval()
    found = least_excess(net, asked([[0.0]], 9))
    points = torch.rand(20000, 9) * 2 - 1
    y = net(torch.cat((points, points.sign(), found.point.float()[None]))).double()
    assert found.solved
    assert abs(float((y[:, 0] - y[:, 1]).min()) - found.least) < 1e-5
    with pytest.raises(UnsupportedOperator, match="only ReLUs"):
        least_excess(nn.Sequential(nn.Linear(3, 2), nn.Sigmoid()).eval(), asked([[0.0]]))
    with pytest.raises(UsageError, match="seconds"):
        least_excess(net, asked([[0.0]], 9), seconds=0)


def test_conjunctions_are_closed_by_any_row():
    net = network(1)
    values = grid(net, 2)
    shift = float(values[:, 1].min())
    found = split_inputs(asked([[-100.0, -shift + 0.1]], rows=2), sensitive_lines(net, 3), never, never)
    assert found.end == "proven"


def test_bounds_side_by_side_are_bounds_alone_and_tuning_never_loosens():
    net = network(2)
    questions = asked([[0.0], [0.3], [0.1], [-0.2]])
    lower = questions.lower.clone()
    lower[2:] = -0.5  # two boxes, two questions each
    questions = Questions(lower, questions.upper, questions.rows, questions.offsets)
    for make in (lines, tuned_lines, sensitive_lines, forward_lines, boxes):
        together = make(net, 3)(questions).least
        alone = torch.cat([make(net, 3)(questions.take(torch.tensor([q]))).least for q in range(4)])
        assert torch.allclose(together, alone, atol=1e-9)
    assert bool((tuned_lines(net, 3)(questions).least >= lines(net, 3)(questions).least - 1e-12).all())
    points = torch.rand(50_000, 3) * 2 - 1
    y = net(points).double()
    inside = (points >= lower[2].float()).all(1)
    for q, some in ((0, torch.ones_like(inside)), (2, inside)):
        least = float((y[some, 0] - y[some, 1]).min() + questions.offsets[q, 0])
        assert float(tuned_lines(net, 3)(questions).least[q, 0]) <= least


def test_the_widths_that_cost_most_are_cut_first():
    """Only one input matters, so a search that knows cuts no other."""
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)).requires_grad_(False).eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]))
        net[0].bias.zero_()
        net[2].weight.copy_(torch.tensor([[-1.0, -1.0], [0.0, 0.0]]))
        net[2].bias.zero_()
    cost = sensitive_lines(net, 3)(asked([[0.5]])).cost
    assert cost.argmax() == 1
    assert float(cost[0, [0, 2]].abs().max()) < 1e-6


def test_a_search_ends_as_it_says():
    net = network(4)
    bound = sensitive_lines(net, 3)
    assert split_inputs(asked([[-1.0]]), bound, lambda points, owner: True, never).end == "found"
    assert split_inputs(asked([[-1.0]]), bound, never, lambda: True).end == "time"
    full = split_inputs(asked([[-1.0]]), bound, never, never, batch=16, most=64)
    assert full.end == "stuck"
    assert full.open > 64
    with pytest.raises(UsageError, match="batch"):
        split_inputs(asked([[0.0]]), bound, never, never, batch=1)


def test_a_box_that_is_one_point_cannot_be_cut():
    net = network(5)
    one = asked([[0.0]])
    value = float(net(torch.zeros(1, 3)).double() @ torch.tensor([1.0, -1.0], dtype=torch.float64))
    point = Questions(one.lower * 0, one.upper * 0, one.rows, torch.tensor([[-value]], dtype=torch.float64))
    found = split_inputs(point, sensitive_lines(net, 3), never, never)
    assert found.end == "stuck"
    assert not found.proven.any()
    assert -1e-3 < found.worst <= 0


@pytest.mark.parametrize("rows", [1, 3])
def test_clipping_keeps_every_yes_and_nothing_that_one_row_rules_out_at_a_side(rows):
    generator = torch.Generator().manual_seed(rows)
    low, slope = (torch.randn(size, generator=generator, dtype=torch.float64) for size in ((50, 3), (50, rows, 3)))
    high = low + torch.rand(50, 3, generator=generator, dtype=torch.float64)
    least = -0.3 * torch.rand(50, rows, generator=generator, dtype=torch.float64)
    offset = least - torch.where(slope > 0, slope * low[:, None], slope * high[:, None]).sum(2)
    bottom, top = clipped(low, high, least, slope)
    points = low[:, None] + torch.rand(50, 4000, 3, generator=generator, dtype=torch.float64) * (high - low)[:, None]
    values = torch.einsum("mri,mpi->mpr", slope, points) + offset[:, None]
    yes = (values <= 0).all(2)
    inside = ((bottom[:, None] <= points) & (points <= top[:, None])).all(2)
    assert yes.any()
    assert (inside | ~yes).all()
    assert ((top - bottom) < 0.9 * (high - low)).any(1).float().mean() > 0.5
    if rows == 1:  # as tight as can be: the new ends are where the function is zero, the other inputs at their best
        best = torch.where(slope[:, 0] > 0, low, high)
        for i in range(3):
            end = torch.where(slope[:, 0, i] > 0, top[:, i], bottom[:, i])
            moved = best.clone()
            moved[:, i] = end
            value = (slope[:, 0] * moved).sum(1) + offset[:, 0]
            cut = (end > low[:, i]) & (end < high[:, i])
            assert (value[cut].abs() < 1e-8).all()


def test_what_is_unknown_clips_nothing_and_rows_that_exclude_each_other_leave_nothing():
    low, high = torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    slope = torch.tensor([[[1.0, 0.0], [float("nan"), 1.0], [0.0, 0.0]]], dtype=torch.float64)
    least = torch.tensor([[-torch.inf, -0.5, float("nan")]], dtype=torch.float64)
    bottom, top = clipped(low, high, least, slope)
    assert torch.equal(bottom, low)
    assert top[0, 0] == 1
    assert abs(top[0, 1] - 0.5) < 1e-9
    slope = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]], dtype=torch.float64)  # x <= 0.4 and x >= 0.6
    bottom, top = clipped(low, high, torch.tensor([[-0.4, -0.4]], dtype=torch.float64), slope)
    assert (bottom > top).any()


def test_clipping_saves_boxes():
    net = network(7, width=16)
    questions = asked([[-least_excess(net, asked([[0.0]])).least + 0.001]])
    bound = sensitive_lines(net, 3)
    with_ends = split_inputs(questions, bound, never, never, batch=4)
    without = split_inputs(questions, lambda q: bound(q)._replace(slope=None), never, never, batch=4)
    assert with_ends.end == without.end == "proven"
    assert with_ends.boxes < 0.8 * without.boxes
