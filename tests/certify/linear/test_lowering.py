"""Programs compute what their networks compute, and what has no rule is named with its place."""

import pytest
import torch
import torch.nn.functional as F
from tests.certify.linear.networks import KINDS, SIDE, network
from torch import nn

from robustly.certify.linear.enclosure import enclose
from robustly.certify.linear.lowering.lower import lower
from robustly.certify.linear.region import Region
from robustly.certify.types import UnsupportedOperator

SHAPE = (2, SIDE, SIDE)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_program_is_its_network(kind, seed):
    net = network(kind, seed)
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(seed))
    program = lower(net, SHAPE)
    assert torch.allclose(program(x.double()).float(), net(x), rtol=1e-4, atol=1e-5)
    assert [n.shape for n in program.nodes] == [tuple(v.shape[1:]) for v in program.values(x)]


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_map_has_the_transpose_it_says_and_the_size_it_says(kind):
    generator = torch.Generator().manual_seed(0)
    for node in lower(network(kind, 0), SHAPE).nodes:
        for source, step in zip(node.sources, getattr(node, "maps", ()), strict=False):
            shape = lower(network(kind, 0), SHAPE).nodes[source].shape
            v = torch.randn(2, *shape, generator=generator).double()
            g = torch.randn(2, *node.shape, generator=generator).double()
            one, two = (step.forward(v) * g).sum(), (v * step.backward(g)).sum()
            assert one.item() == pytest.approx(two.item(), rel=1e-9, abs=1e-9)
            assert (step.forward(v).abs() <= step.size(v.abs()) + 1e-9).all()


class Does(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return self.f(x)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.flatten(1)[:, 2:7],
        lambda x: x[:, 1].unsqueeze(1).squeeze(1).flatten(1),
        lambda x: torch.stack((x[:, 0], x[:, 1]), dim=-1).flatten(1),
        lambda x: F.pad(x, (1, 2, 0, 1), value=0.5).flatten(1),
        lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect").flatten(1),
        lambda x: F.conv2d(x, torch.arange(16.0).view(2, 2, 2, 2), stride=(2, 1), padding=(1, 0)).flatten(1),
        lambda x: F.conv_transpose2d(x, torch.arange(16.0).view(2, 2, 2, 2) - 7, stride=3, padding=1, output_padding=2),
        lambda x: x.amax(3).flatten(1),
        lambda x: F.max_pool2d(x, 3, 1, 1, dilation=2),
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        lambda x: torch.softmax(3 * x, 2),
        lambda x: torch.arange(36.0).view(6, 6) @ x,
        lambda x: x @ x.transpose(2, 3),
        lambda x: x * x.mean((2, 3), keepdim=True) / (1 + x.square().sum(1, keepdim=True)),
        lambda x: 1 - 2 / (0.1 + x.abs()),
        lambda x: x.clamp(0.2, 0.6) - x.clamp(min=0.5) + x.clamp(max=0.1),
        lambda x: torch.sqrt(x.abs() + 0.01) + torch.exp(x) + F.softplus(x) + F.elu(x),
        lambda x: torch.cat((x, torch.ones(1, 2, 1, SIDE)), 2) if False else torch.cat((x, x[:, :, :1]), 2),
    ],
)
def test_an_operation_is_carried_out_as_torch_does_and_members_stay_in_its_ranges(f):
    net = Does(f).eval()
    x = torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(0))
    program = lower(net, SHAPE)
    with torch.no_grad():
        assert torch.allclose(program(x), net(x), rtol=1e-4, atol=1e-5)
        middle = torch.full((1, *SHAPE), 0.5).double()
        found = enclose(program, Region(middle - 0.5, middle + 0.5))
        for number, box in found.boxes.items():
            value = program.values(x.double())[number]
            assert not (value < box.low - 1e-9).any()
            assert not (value > box.high + 1e-9).any()


@pytest.mark.parametrize(
    ("f", "said"),
    [
        (lambda x: torch.erf(x), "erf"),
        (lambda x: x.reshape(2, -1), "rows of the batch"),
        (lambda x: x.sum(0), "rows of the batch"),
        (lambda x: x.transpose(0, 1), "rows of the batch"),
        (lambda x: x[1:], "rows of the batch"),
        (lambda x: torch.softmax(x, 0), "rows of the batch"),
        (lambda x: F.max_pool2d(x, 2, ceil_mode=True), "ceil_mode"),
        (lambda x: x**5, "exponent 5"),
        (lambda x: x + torch.ones(5), "arguments"),
        (lambda x: F.conv2d(x, x[:, :1]), "depends on the input"),
        (lambda x: F.dropout(x), "training mode"),
        (lambda x: x.flatten(1) @ torch.ones(4, 4), "arguments"),
    ],
)
def test_what_has_no_rule_is_refused_with_its_name_and_place(f, said):
    with pytest.raises(UnsupportedOperator, match=said) as told:
        lower(Does(f).eval(), SHAPE)
    assert told.value.node
    assert told.value.operator
