"""CROWN against the textbook, and as arithmetic of its own."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.certify.linear import textbook
from torch import nn

from robustly.certify.linear.bounds import Specs, bounds
from robustly.certify.linear.crown import crown
from robustly.certify.linear.lowering.lower import lower
from robustly.certify.linear.region import Region


def network(widths, seed):
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for n, m in pairwise(widths):
        layer = nn.Linear(n, m)
        layer.weight.data = torch.randn(m, n, generator=generator) / n**0.5
        layer.bias.data = torch.randn(m, generator=generator) / 2
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval().requires_grad_(False)


@pytest.mark.parametrize(("widths", "eps"), [((3, 8, 4), 0.3), ((5, 20, 20, 3), 0.1), ((4, 10, 10, 10, 10, 2), 0.2)])
def test_bounds_are_those_of_the_textbook(widths, eps):
    for seed in range(4):
        net = network(widths, seed)
        x = torch.rand(3, widths[0], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        program, region = lower(net, (widths[0],)).unrounded(), Region(x - eps, x + eps)
        eye = torch.eye(widths[-1], dtype=torch.float64)
        weights = torch.cat((eye, -eye, eye[:1] - eye[1:]))
        specs = Specs(weights.expand(3, *weights.shape), torch.zeros(3, len(weights), dtype=torch.float64))
        enclosure = crown(program, region)
        found, _ = bounds(program, region, enclosure, specs)
        layers = [(m.weight.double().numpy(), m.bias.double().numpy()) for m in net if isinstance(m, nn.Linear)]
        for row in range(3):
            low, high = region.low[row].numpy(), region.high[row].numpy()
            expected, ranges = textbook.crown(layers, low, high, weights.numpy())
            assert np.abs(found[row].numpy() - expected).max() < 1e-5
            assert (found[row].numpy() <= np.array(expected) + 1e-12).all()
            for number, (below, above) in zip(program.bounded, ranges, strict=True):
                box = enclosure.boxes[number].take(torch.tensor([row]))
                loose = (below < 0) & (above > 0)  # of the others no plane depends
                assert np.abs(box.low[0].numpy() - below)[loose].max(initial=0) < 1e-5
                assert np.abs(box.high[0].numpy() - above)[loose].max(initial=0) < 1e-5
