"""The searches for slopes: never looser than where they began, close to the optimum where it is known, sound at any choice."""

import pytest
import torch
from tests.certify.linear.networks import KINDS, SIDE, network
from tests.certify.linear.test_crown import network as mlp
from torch import nn

from robustly.certify.linear.bounds import Specs, bounds
from robustly.certify.linear.crown import crown
from robustly.certify.linear.enclosure import enclose
from robustly.certify.linear.lowering.lower import lower
from robustly.certify.linear.refine import refine
from robustly.certify.linear.region import Region
from robustly.certify.linear.slopes import optimise

SHAPE = (2, SIDE, SIDE)


def problem(net, shape, eps, rows=2, seed=0):
    program = lower(net, shape)
    x = torch.rand(rows, *shape, generator=torch.Generator().manual_seed(seed)).double()
    count = program.nodes[-1].shape[0]
    eye = torch.eye(count, dtype=torch.float64)
    weights = torch.cat((eye[:1] - eye[1:], eye[1:] - eye[:1]))
    specs = Specs(weights.expand(rows, -1, -1), torch.zeros(rows, len(weights), dtype=torch.float64))
    return program, Region(x - eps, x + eps), specs


def test_the_best_slopes_of_an_absolute_value_are_found():
    """relu(x) + relu(-x) >= (a - b) x for slopes a, b: zero where they agree, while CROWN takes 1 and 0."""
    net = (
        nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)).requires_grad_(False).eval()
    )
    net[0].weight.data, net[2].weight.data = torch.tensor([[1.0], [-1.0]]), torch.ones(1, 2)
    program, specs = lower(net, (1,)), Specs(torch.ones(1, 1, 1).double(), torch.zeros(1, 1).double())
    region = Region(torch.tensor([[-0.4]]).double(), torch.tensor([[1.0]]).double())
    with torch.no_grad():
        enclosure = crown(program, region)
        plain = bounds(program, region, enclosure, specs)[0].item()
        found = optimise(program, region, enclosure, specs, 60, enough=torch.inf).lower.item()
    assert plain == pytest.approx(-0.4, abs=1e-5)
    assert -0.01 < found <= 0


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_no_search_ends_below_where_it_began(kind, dtype):
    program, region, specs = problem(network(kind, 0), SHAPE, 0.05)
    with torch.no_grad():
        enclosure = crown(program, region)
        plain = bounds(program, region, enclosure, specs)[0]
        found = optimise(program, region, enclosure, specs, 8, enough=torch.inf, dtype=dtype)
    assert found.lower.dtype == torch.float64
    assert (found.lower >= plain).all()
    assert (found.lower > plain).any() or not found.slopes
    with torch.no_grad():
        again = bounds(program, region, enclosure, specs, found.slopes)[0]
    assert torch.allclose(again, found.lower, rtol=1e-12)


def test_a_search_begins_where_another_stopped():
    program, region, specs = problem(mlp((5, 20, 20, 3), 1), (5,), 0.2)
    with torch.no_grad():
        enclosure = crown(program, region)
        first = optimise(program, region, enclosure, specs, 10, enough=torch.inf)
        index = torch.tensor([1, 1, 0])
        parts = (region.take(index), enclosure.take(index), specs.take(index))
        second = optimise(program, *parts, 0, start=first.take(index))
    assert torch.allclose(second.lower, first.lower[index], rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_slopes_for_hidden_ranges_narrow_them_and_stay_sound(seed):
    net = mlp((4, 14, 14, 14, 3), seed)
    program, region, specs = problem(net, (4,), 0.3, rows=2, seed=seed)
    with torch.no_grad():
        enclosure = crown(program, region)
        plain = optimise(program, region, enclosure, specs, 20, enough=torch.inf).lower
        narrow, tuned = refine(program, region, specs, 12, enough=torch.inf)
    x = region.low[:1] + 0.6 * torch.rand(20_000, 4, generator=torch.Generator().manual_seed(seed)).double()
    inner = program.values(x)
    for number, box in narrow.boxes.items():
        assert (box.low >= enclosure.boxes[number].low - 1e-12).all()
        assert (box.high <= enclosure.boxes[number].high + 1e-12).all()
        assert (inner[number] >= box.low[0]).all()
        assert (inner[number] <= box.high[0]).all()
    assert ((inner[-1] @ specs.weights[0].T) >= tuned.lower[0]).all()
    assert (tuned.lower >= plain - 0.02).all()
    assert (tuned.lower > plain + 1e-3).any()


def test_every_choice_of_slopes_is_sound():
    generator = torch.Generator().manual_seed(0)
    for kind in KINDS:
        program, region, specs = problem(network(kind, 0), SHAPE, 0.1, rows=1)
        enclosure = enclose(program, region)
        slopes = {
            k: torch.rand(1, specs.weights.shape[1], *n.shape, generator=generator).double()
            for k, n in enumerate(program.nodes)
            if getattr(getattr(n, "rule", None), "start", None) is not None
        }
        found, _ = bounds(program, region, enclosure, specs, slopes)
        x = region.low + 0.2 * torch.rand(2000, *SHAPE, generator=generator).double()
        assert ((program(x) @ specs.weights[0].T) >= found[0]).all()


@pytest.mark.parametrize("activation", [nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.SiLU(), nn.Softplus()], ids=str)
def test_tangents_of_smooth_activations_are_chosen_too(activation):
    """They make up a good part of what CROWN leaves between its bound and the least value that is seen."""
    gained, gap = 0.0, 0.0
    for seed in range(3):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net = nn.Sequential(nn.Linear(4, 12), activation, nn.Linear(12, 12), activation, nn.Linear(12, 3))
        net.requires_grad_(False)
        for part in net[::2]:
            part.weight.mul_(2)
        program, region, specs = problem(net.eval(), (4,), 0.5, seed=seed)
        with torch.no_grad():
            enclosure = crown(program, region)
            plain = bounds(program, region, enclosure, specs)[0]
            found = optimise(program, region, enclosure, specs, 20, enough=torch.inf).lower
            _, tuned = refine(program, region, specs, 6, enough=torch.inf)
        assert (found >= plain).all()
        assert (tuned.lower >= plain).all()
        at = torch.rand(2000, 1, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        z = region.low + (region.high - region.low) * at
        for row in range(2):
            seen = (program(z[:, row]) @ specs.weights[row].T).amin(0)
            assert (seen >= torch.maximum(found, tuned.lower)[row]).all()
            gained, gap = gained + float((found - plain)[row].sum()), gap + float((seen - plain[row]).sum())
    assert gained > 0.1 * gap
