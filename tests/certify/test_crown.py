"""The certifiers by linear bounds: exact where the answer is known, silent where they must be, each example for itself."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from robustly.certify.crown import alpha_crown, crown, crown_ibp, forward_lines
from robustly.certify.interval import interval
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle import Model
from robustly.threats import L0, L1, L2, Both, Domain, Edits, Linf

ALL = [crown_ibp, crown, alpha_crown, forward_lines]
DOMAIN = Domain(-10, 10)


def model_of(net, domain=DOMAIN):
    return Model(call=net, module=net, domain=domain)


def bound(certifier, net, x, y, threat, target=None, domain=DOMAIN):
    return certifier(model_of(net, domain), threat.at(x, domain), Goal(y, target))


def mlp(seed=0, widths=(6, 16, 16, 4)):
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for n, m in pairwise(widths):
        layer = nn.Linear(n, m)
        layer.weight.data = torch.randn(m, n, generator=generator) / n**0.5
        layer.bias.data = torch.randn(m, generator=generator) / 4
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval().requires_grad_(False)


def drop(v, x, eps, norm):
    """The most that <v, d> can be for |d| <= eps with x + d in the domain, by brute force where it is no closed form."""
    room = torch.where(v > 0, DOMAIN.high - x, x - DOMAIN.low)
    if norm is Linf:
        return (v.abs() * room.clamp_max(eps)).sum()
    if norm is L1:
        assert (room >= eps).all()
        return eps * v.abs().max()
    if norm is L2:
        assert (room >= eps).all()
        return eps * v.norm()
    return (v.abs() * room).sort(descending=True).values[: int(eps)].sum()


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize(("norm", "eps"), [(Linf, 0.3), (L2, 0.7), (L1, 1.5), (L0, 2)])
def test_a_linear_model_has_its_exact_radius_and_never_more(make, norm, eps):
    generator = torch.Generator().manual_seed(3)
    net = nn.Linear(6, 4).requires_grad_(False).eval()
    net.weight.data, net.bias.data = torch.randn(4, 6, generator=generator), torch.randn(4, generator=generator)
    x, y = torch.randn(10, 6, generator=generator), torch.randint(4, (10,), generator=generator)
    found = bound(make(), net, x, y, norm(eps))
    for i in range(10):
        w, b, z = net.weight.double(), net.bias.double(), x[i].double()
        gaps = []
        for k in range(4):
            if k != y[i]:
                v = w[y[i]] - w[k]
                gaps.append(v @ z + b[y[i]] - b[k] - drop(-v, z, eps, norm))
        truth = min(gaps).item()
        assert found.lower[i].item() <= truth
        assert truth - found.lower[i].item() <= 2e-5 * (1 + abs(truth))


@pytest.mark.parametrize("make", ALL)
def test_two_hinges_make_an_absolute_value_whose_least_is_known(make):
    """|x| - 0.5 against zero on [x0 - eps, x0 + eps]: certified exactly where the interval keeps away from [-0.5, 0.5]."""
    net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 2)).requires_grad_(False).eval()
    net[0].weight.data = torch.tensor([[1.0], [-1.0]])
    net[2].weight.data, net[2].bias.data = torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([-0.5, 0.0])
    x = torch.tensor([[1.0], [-2.0], [0.8], [0.7], [0.2]])
    found = bound(make(), net, x, torch.zeros(5, dtype=torch.int64), Linf(0.25))
    assert found.certified.tolist() == [True, True, True, False, False]
    assert found.lower[:4].tolist() == pytest.approx([0.25, 1.25, 0.05, -0.05], abs=1e-5)
    assert (found.lower[:4] <= torch.tensor([0.25, 1.25, 0.05, -0.05])).all()
    assert found.lower[4].item() == pytest.approx(-0.55, abs=1e-5)  # x below relu(x), 0 below relu(-x), at x = -0.05


def test_each_is_at_least_as_tight_as_the_one_before_and_keeps_more_examples():
    net, generator = mlp(), torch.Generator().manual_seed(1)
    x = torch.randn(60, 6, generator=generator)
    y = net(x).argmax(1)
    counts = []
    lowers = []
    for certifier in (interval(), crown_ibp(), crown(), alpha_crown(30)):
        found = bound(certifier, net, x, y, Linf(0.08))
        counts.append(int(found.certified.sum()))
        lowers.append(found.lower)
    assert counts == sorted(counts)
    assert counts[3] > counts[0]
    for before, after in pairwise(lowers[1:]):
        assert (after >= before).all()
    assert (lowers[3] > lowers[2] + 1e-3).any()


def test_a_target_is_kept_off_where_any_other_class_stays_above_it():
    net, generator = mlp(), torch.Generator().manual_seed(2)
    x = torch.randn(30, 6, generator=generator)
    y = net(x).argmax(1)
    untargeted = bound(crown(), net, x, y, Linf(0.05)).certified
    for step in (1, 2, 3):
        found = bound(crown(), net, x, y, Linf(0.05), target=(y + step) % 4)
        assert (found.certified | ~untargeted).all()
        assert found.certified.sum() > untargeted.sum()
    met = bound(crown(), net, x, y, Linf(0.0), target=y)
    assert not met.certified.any()


@pytest.mark.parametrize("make", ALL)
def test_an_example_has_the_same_bits_alone_and_in_company(make):
    net, generator = mlp(), torch.Generator().manual_seed(5)
    x = torch.randn(9, 6, generator=generator)
    y = net(x).argmax(1)
    together = bound(make(), net, x, y, Linf(0.1))
    for i in range(9):
        alone = bound(make(), net, x[i : i + 1], y[i : i + 1], Linf(0.1))
        assert alone.lower[0] == together.lower[i]
        assert alone.why[0] == together.why[i]


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.last(torch.erf(self.first(x)))


class Dynamic(nn.Module):
    def __init__(self):
        super().__init__()
        self.only = nn.Linear(6, 3)

    def forward(self, x):
        return self.only(x) if x.sum() > 0 else -self.only(x)


class Rows(nn.Module):
    def __init__(self):
        super().__init__()
        self.only = nn.Linear(6, 3)

    def forward(self, x):
        return self.only(x).reshape(-1).reshape(3, -1).t()


@pytest.mark.parametrize("make", ALL)
def test_what_cannot_be_bounded_is_unknown_and_says_why(make):
    x, y = torch.zeros(2, 6), torch.tensor([0, 1])

    def why(net, threat=Linf(0.1), module=True, x=x):  # noqa: B008
        model = Model(call=net, module=net if module else None, domain=DOMAIN)
        found = make()(model, threat.at(x, DOMAIN), Goal(y))
        assert not found.certified.any()
        assert found.why[0] == found.why[1]
        return found.why[0]

    assert "erf" in why(Odd().eval())
    assert "cannot be traced" in why(Dynamic().eval())
    assert "rows of the batch" in why(Rows().eval())
    assert "training mode" in why(nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.5)))
    assert "not an nn.Module" in why(mlp(), module=False)
    assert "float16" in why(copy.deepcopy(mlp()).half())
    assert "1 classes" in why(nn.Linear(6, 1).eval()) or "K of 2" in why(nn.Linear(6, 1).eval())
    texts = make()(model_of(mlp()), Edits(1).at(("a", "b"), DOMAIN), Goal(y))
    assert "discrete" in texts.why[0]
    assert not texts.certified.any()


@pytest.mark.parametrize("make", ALL)
def test_margins_that_rounding_could_turn_are_unknown(make):
    """Large numbers that cancel: float32 answers off by more than the exact margin of 1e-3."""
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).requires_grad_(False).eval()
    net[0].weight.data, net[0].bias.data = torch.eye(2), torch.full((2,), 1e6)
    net[2].weight.data, net[2].bias.data = torch.tensor([[1.0, -1.0], [0.0, 0.0]]), torch.tensor([1e-3, 0.0])
    x = torch.tensor([[0.3, 0.3]])
    assert not bound(make(), net, x, torch.tensor([0]), Linf(0.0)).certified.any()
    net[2].bias.data[0] = 5.0
    assert bound(make(), net, x, torch.tensor([0]), Linf(0.0)).certified.all()
    tiny = nn.Linear(2, 2).requires_grad_(False).eval()
    tiny.weight.data, tiny.bias.data = torch.ones(2, 2), torch.tensor([1e-7, 0.0])
    assert not bound(make(), tiny, x, torch.tensor([0]), Linf(0.0)).certified.any()


def test_numbers_that_overflow_are_unknown():
    net = mlp()
    net[0].weight.data *= 1e38
    found = bound(crown(), net, torch.ones(2, 6), torch.tensor([0, 1]), Linf(1.0))
    assert (found.lower == -torch.inf).all()
    assert "unknown" in found.why[0]


def test_a_model_that_answers_otherwise_than_its_network_is_not_certified():
    net, other = mlp(), mlp(1)
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    y = net(x).argmax(1)
    model = Model(call=other, module=net, domain=DOMAIN)
    found = crown()(model, Linf(0.01).at(x, DOMAIN), Goal(y))
    assert any(w and "does not answer as the model does" in w for w in found.why)
    assert not (found.certified & (other(x).argmax(1) != y)).any()


def test_the_tighter_of_two_balls_counts():
    net = nn.Linear(6, 4).requires_grad_(False).eval()
    x, y = torch.zeros(1, 6), torch.tensor([0])
    one, two = bound(crown(), net, x, y, Linf(0.5)), bound(crown(), net, x, y, L2(0.7))
    both = bound(crown(), net, x, y, Both(L2(0.7), Linf(0.5)))
    assert both.lower[0] > max(one.lower[0], two.lower[0])


def test_the_cost_grows_with_the_number_of_examples_and_not_faster():
    net = mlp(widths=(6, 64, 64, 64, 4))
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    y = net(x).argmax(1)

    def flops(count):
        with FlopCounterMode(display=False) as counter:
            bound(crown(), net, x[:count].contiguous(), y[:count], Linf(0.1))
        return counter.get_total_flops()

    assert 0 < flops(64) <= 2.4 * flops(32)
    assert flops(32) <= 2.4 * flops(16)


def test_beyond_the_limit_ranges_stay_those_of_intervals():
    net = mlp()
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    y = net(x).argmax(1)
    small, full, none = (bound(c, net, x, y, Linf(0.1)).lower for c in (crown(limit=3600.0), crown(), crown_ibp()))
    assert (small >= none).all()
    assert (small <= full).all()
    assert (small < full).any()
    assert "limit=100" in bound(crown(limit=100.0), net, x, y, Linf(0.1)).why[0]


def test_arguments_are_checked():
    with pytest.raises(UsageError, match="steps"):
        alpha_crown(0)
    with pytest.raises(UsageError, match="limit"):
        crown(limit=0.0)
