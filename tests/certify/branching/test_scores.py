"""The kink that bears the gap is the one that is split."""

import torch
from torch import nn

from robustly.certify.branching.scores import Part, candidates, plain, weigh, with_sign
from robustly.certify.branching.search import Effort, split_relus
from robustly.certify.branching.tree import Tree
from robustly.certify.linear.bounds import Specs, bounds
from robustly.certify.linear.crown import crown
from robustly.certify.linear.lowering.lower import lower
from robustly.certify.linear.region import Region
from robustly.certify.linear.slopes import Tuned


def absolute(weights):
    """-sum_i weights[i] |x_i|, of two kinks each."""
    count = len(weights)
    net = nn.Sequential(nn.Linear(count, 2 * count, bias=False), nn.ReLU(), nn.Linear(2 * count, 1, bias=False))
    net[0].weight.data = torch.cat((torch.eye(count), -torch.eye(count)))
    net[2].weight.data = -torch.tensor([weights + weights])
    return net.requires_grad_(False).eval()


def part_of(program, count, high=1.0):
    region = Region(torch.full((1, count), -1.0).double(), torch.full((1, count), high).double())
    with torch.no_grad():
        enclosure = crown(program, region)
    splits = {k: torch.zeros(1, *program.nodes[k].shape, dtype=torch.int8) for k in program.switches}
    specs = Specs(torch.ones(1, 1, 1).double(), torch.zeros(1, 1).double())
    return Part(region, enclosure, specs, splits)


def none(program):
    multipliers = {k: torch.zeros(1, 1, *program.nodes[k].shape).double() for k in program.switches}
    return Tuned(torch.zeros(1, 1).double(), {}, multipliers)


def test_gaps_add_up_to_how_far_the_bound_is_from_the_network():
    """Over [-1, 0.5] the chords meet -|x| at the ends, so the relaxation is exact at -1 but not at 0."""
    program = lower(absolute([1.0, 3.0]), (2,))
    tree_kinks = Tree(program, part_of(program, 2).region, part_of(program, 2).specs).kinks
    part = part_of(program, 2, 0.5)
    found = weigh(program, tree_kinks, part, none(program))
    lower_bound = bounds(program, part.region, part.enclosure, part.specs)[0].item()
    there = program(found.corner).item()
    assert abs(found.gap.clamp_min(0).sum().item() - (there - lower_bound)) < 1e-5
    assert found.intercept.argmax().item() % 2 == 1  # the heavier of the two
    assert candidates(found, 2)[0, 1].item() % 2 == 1


def test_decided_kinks_are_no_candidates():
    program = lower(absolute([1.0, 3.0]), (2,))
    part = part_of(program, 2)
    (node,) = program.switches
    signs = torch.tensor([[1, 1, -1, 0]], dtype=torch.int8)
    part = part._replace(enclosure=part.enclosure.split(program, {node: signs}), splits={node: signs})
    tree = Tree(program, part.region, part.specs)
    options = candidates(weigh(program, tree.kinks, part, none(program)), 6)
    assert sorted(set(options[0].tolist())) == [-1, 3]
    whole = with_sign(signs, torch.tensor([3]), -1)
    part = part._replace(splits={node: whole}, enclosure=part.enclosure.split(program, {node: whole}))
    assert (candidates(weigh(program, tree.kinks, part, none(program)), 6) == -1).all()
    assert torch.isfinite(plain(program, part, none(program))).all()


def test_kinks_that_matter_are_split_before_those_that_do_not():
    """Two heavy inputs of eight: with their four kinks decided the bound is above zero, which takes few sub-problems."""
    weights = [0.01] * 8
    weights[2] = weights[5] = 1.0
    program = lower(absolute(weights), (8,))
    part = part_of(program, 8, 0.2)
    constant = torch.tensor([[2.0 + 0.06 + 0.05]]).double()  # the truth is -2.06
    found = split_relus(
        program, part.region, Specs(part.specs.weights, constant), lambda p, o: False, lambda: False,
        Effort(root=0, quick=0, steps=1, most=200),
    )  # fmt: skip
    assert found.end == "proven"
    assert found.boxes <= 31
