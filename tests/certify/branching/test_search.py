"""ReLU splitting: agrees with mixed-integer programs, proves what bounds alone can't, and stays sound when it is crippled."""

import itertools

import pytest
import torch
from bench.needles import spike, trained
from tests.certify.linear.networks import CLASSES, SIDE
from tests.certify.linear.networks import network as kind_of
from tests.certify.test_splitting import asked, grid, network, never
from torch import nn

from robustly.certify.branching.search import Effort, split_relus
from robustly.certify.branching.tree import Tree
from robustly.certify.linear.bounds import Specs
from robustly.certify.linear.lowering.lower import lower
from robustly.certify.linear.region import Region
from robustly.certify.lines import tuned_lines
from robustly.certify.milp import least_excess
from robustly.certify.questions import Questions
from robustly.core.errors import UsageError

SOME = Effort(most=3000)


def split(net, questions, look=never, over=never, effort=SOME):
    program = lower(net, (questions.lower.shape[1],))
    specs = Specs(questions.rows, questions.offsets)
    return split_relus(program, Region(questions.lower, questions.upper), specs, look, over, effort)


def looking(net, questions):
    """A look that notes which questions were answered yes, and goes on."""
    hits = set()

    def look(points, owner):
        y = net(points.float()).double()
        values = (questions.rows[owner] @ y[..., None]).squeeze(-1) + questions.offsets[owner]
        hits.update(owner[values.amax(1) <= 0].tolist())
        return False

    return look, hits


class Shaped(nn.Module):
    """A network with pools of flat inputs."""

    def __init__(self):
        super().__init__()
        self.net = kind_of("pools", 0)

    def forward(self, x):
        return self.net(x.reshape(-1, 2, SIDE, SIDE))


@pytest.mark.parametrize("seed", range(3))
def test_what_is_proven_is_what_a_mixed_integer_program_finds(seed):
    net = network(seed)
    optimum = least_excess(net, asked([[0.0]])).least
    questions = asked([[-optimum + 0.01], [-optimum - 0.02]])
    look, hits = looking(net, questions)
    found = split(net, questions, look)
    assert found.proven.tolist() == [True, False]
    assert found.end == "stuck"  # the second question has a yes, which only `look` can say
    assert 0 not in hits
    assert 1 in hits
    truth = torch.tensor([0.01, -0.02], dtype=torch.float64)
    assert bool((found.least <= truth + 1e-6).all())
    assert found.least[1] > -0.025  # exact but for rounding and the multipliers' last digits
    assert float(grid(net).min()) + questions.offsets[1, 0] >= found.least[1]


def test_splitting_proves_what_slopes_alone_cannot():
    net = network(3, width=12)
    optimum = least_excess(net, asked([[0.0]])).least
    questions = asked([[-optimum + 0.01]])
    assert tuned_lines(net, 3, 200)(questions).least.max() < 0
    whole = split(net, questions, effort=Effort(most=1))
    assert not whole.proven.any()
    assert whole.end == "time"
    found = split(net, questions)
    assert found.end == "proven"
    assert found.boxes > 1
    assert 0 < found.least[0] <= 0.01 + 1e-6
    assert found.least[0] > whole.least[0]


@pytest.mark.parametrize("crippled", ["splits", "multipliers"])
def test_without_what_splits_are_worth_it_is_only_looser(crippled, monkeypatch):
    net = network(1)
    optimum = least_excess(net, asked([[0.0]])).least
    questions = asked([[-optimum + 0.01], [-optimum - 0.01]])
    if crippled == "splits":
        part = Tree.part

        def blind(self, leaves):
            found = part(self, leaves)
            whole = self.known.take(leaves.ranges)
            return found._replace(enclosure=whole, splits={k: torch.zeros_like(v) for k, v in found.splits.items()})

        monkeypatch.setattr(Tree, "part", blind)
    else:
        tuned = Tree.tuned

        def worthless(self, leaves):
            found = tuned(self, leaves)
            return type(found)(found.lower, found.slopes, {k: v * 0 for k, v in found.multipliers.items()})

        monkeypatch.setattr(Tree, "tuned", worthless)
    found = split(net, questions, effort=Effort(most=300, quick=0, steps=1, last=1, anew=0))
    assert not found.proven[1]
    assert bool((found.least <= torch.tensor([0.01, -0.01], dtype=torch.float64) + 1e-6).all())
    if crippled == "splits":
        assert not found.proven[0]


def test_no_sub_problem_is_above_what_points_of_it_say():
    """Every set of signs of a small network, against a grid of inputs sorted by the signs they have."""
    net = network(6, width=3)
    program, questions = lower(net, (3,)), asked([[0.0]])
    tree = Tree(program, Region(questions.lower, questions.upper), Specs(questions.rows, questions.offsets))
    axis = torch.linspace(-1, 1, 31, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis, axis)
    values = program.values(points)
    inner = torch.cat([values[program.switches[k]] for k in tree.kinks.shapes], 1)
    outer = values[-1][:, 0] - values[-1][:, 1]
    search_root = split(net, questions, effort=Effort(most=1))
    assert search_root.least[0] <= outer.min()
    from robustly.certify.branching.search import _Search  # the root is the only way to a first leaf

    with torch.no_grad():
        root = _Search(tree, never, never, Effort()).roots(torch.tensor([0]))
        signs = torch.tensor(list(itertools.product((1, -1), repeat=tree.kinks.width)), dtype=torch.int8)
        leaves = root.take(torch.zeros(len(signs), dtype=torch.long))
        leaves = type(leaves)(leaves.owner, leaves.ranges, signs, *leaves.fields[3:])
        found = tree.bounded(leaves, 40, 0.1)
        narrow = tree.bounded(tree.narrowed(leaves), 40, 0.1)
    seen = 0
    for row, sign in enumerate(signs):
        here = (inner * sign >= 0).all(1)
        if here.any():
            seen += 1
            assert found.score[row] <= outer[here].min()
            assert narrow.score[row] <= outer[here].min()
    assert seen > 3
    assert bool((narrow.score == torch.inf).any())  # some signs never meet


@pytest.mark.parametrize("seed", range(2))
def test_a_hidden_counterexample_is_never_proven_away(seed):
    for needle in (spike(seed, threshold=0.875), trained(seed, inputs=6, width=16)):
        rows = torch.zeros(1, 1, len(needle.module(needle.lower[None])[0]), dtype=torch.float64)
        rows[0, 0, needle.label], rows[0, 0, needle.other] = 1, -1
        offsets = torch.zeros(1, 1, dtype=torch.float64)
        questions = Questions(needle.lower.double()[None], needle.upper.double()[None], rows, offsets)
        found = split(needle.module, questions, effort=Effort(most=400))
        assert not found.proven.any()
        y = needle.module(needle.planted[None]).double()[0]
        assert found.least[0] <= y[needle.label] - y[needle.other]


def test_a_spike_below_its_threshold_is_proven():
    needle = spike(0, threshold=1.125)
    rows = torch.tensor([[[1.0, -1.0]]], dtype=torch.float64)
    offsets = torch.zeros(1, 1, dtype=torch.float64)
    questions = Questions(needle.lower.double()[None], needle.upper.double()[None], rows, offsets)
    assert split(needle.module, questions).end == "proven"


def test_maxima_of_a_pool_are_split_and_conjunctions_closed_by_any_row():
    net = Shaped().eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 2 * SIDE * SIDE, generator=generator).double()
    rows = torch.eye(CLASSES, dtype=torch.float64)[None, :2]
    draws = torch.rand(20_000, x.shape[1], generator=generator)
    values = net((x - 0.1).float() + 0.2 * draws).double()[:, :2]
    least = values.amin(0)
    questions = Questions(x - 0.1, x + 0.1, rows[:, 1:], -least[None, 1:])
    root = split(net, questions, effort=Effort(most=1, root=5)).least
    found = split(net, questions, effort=Effort(most=100, root=5)).least
    assert root < found <= 0
    offsets = torch.stack((-least - 1.0, -least + torch.stack((torch.tensor(-1.0), 0.01 - found[0]))))
    questions = Questions((x - 0.1).expand(2, -1), (x + 0.1).expand(2, -1), rows.expand(2, -1, -1), offsets)
    look, hits = looking(net, questions)
    found = split(net, questions, look, effort=Effort(most=300, root=5))
    assert found.proven.tolist() == [False, True]
    assert found.boxes > 2
    seen = (values[None] + offsets[:, None]).amax(2).amin(1)
    assert bool((found.least <= seen).all())
    assert 1 not in hits


def test_a_search_ends_as_it_says():
    net = network(4)
    hopeless = asked([[-1.0]])
    assert split(net, hopeless, look=lambda points, owner: True).end == "found"
    late = split(net, hopeless, over=lambda: True)
    assert (late.end, late.open, late.proven.any().item(), late.least.item()) == ("time", 1, False, -torch.inf)
    full = split(net, hopeless, effort=Effort(room=2000))
    assert full.end == "stuck"
    assert not full.proven.any()
    assert full.open > 1
    nothing = split(net, hopeless, effort=Effort(room=1))
    assert (nothing.end, nothing.open) == ("stuck", 1)
    with pytest.raises(UsageError, match="steps"):
        split(net, hopeless, effort=Effort(steps=0))


def test_a_network_without_kinks_has_only_its_root():
    net = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 2)).requires_grad_(False).eval()
    found = split(net, asked([[-5.0], [5.0]]))
    assert found.proven.tolist() == [False, True]
    assert found.end == "stuck"
