"""Interval bounds against exact answers, and what they must refuse."""

import copy
from decimal import Decimal, getcontext
from fractions import Fraction

import pytest
import torch
from torch import nn

from robustly.certify.interval import interval
from robustly.core.specs import build
from robustly.goals import Goal
from robustly.oracle import Model
from robustly.threats import L0, L1, L2, Both, Domain, Edits, Grid, Linf

getcontext().prec = 60


UNBOUNDED = Domain()


def model_of(net, domain=UNBOUNDED, **settings):
    return Model(call=net, module=net, domain=domain, **settings)


def bound(net, x, y, threat, domain=UNBOUNDED, target=None):
    return interval()(model_of(net, domain), threat.at(x, domain), Goal(y, target))


def linear_net(weight, bias):
    net = nn.Linear(weight.shape[1], weight.shape[0])
    net.load_state_dict({"weight": weight, "bias": bias})
    return net.eval()


def exact_drop(v, eps, norm):
    """eps times the dual norm, exactly (60 digits for the square root)."""
    if norm == "linf":
        return eps * sum(abs(a) for a in v)
    if norm == "l1":
        return eps * max(abs(a) for a in v)
    square = sum(a * a for a in v)
    return eps * Fraction((Decimal(square.numerator) / Decimal(square.denominator)).sqrt())


@pytest.mark.parametrize(("norm", "threat"), [("linf", Linf), ("l2", L2), ("l1", L1)])
@pytest.mark.parametrize("eps", [0.0, 0.01, 0.7, 30.0])
def test_a_linear_model_has_the_exact_minimum_and_never_more(norm, threat, eps):
    generator = torch.Generator().manual_seed(int(100 * eps))
    weight, offset = torch.randn(4, 6, generator=generator), torch.randn(4, generator=generator)
    x, y = torch.randn(20, 6, generator=generator), torch.randint(4, (20,), generator=generator)
    found = bound(linear_net(weight, offset), x, y, threat(eps))
    rows, b = [[Fraction(w) for w in r] for r in weight.tolist()], [Fraction(c) for c in offset.tolist()]
    for i, (point, label) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        point = [Fraction(p) for p in point]
        gaps = []
        for k in range(4):
            if k == label:
                continue
            v = [p - q for p, q in zip(rows[label], rows[k], strict=True)]
            inner = sum(p * q for p, q in zip(v, point, strict=True)) + b[label] - b[k]
            gaps.append(inner - exact_drop(v, Fraction(eps), norm))
        truth = min(gaps)
        assert Fraction(found.lower[i].item()) <= truth
        scale = float((weight.abs() @ (x[i].abs() + eps)).max() + offset.abs().max())
        assert float(truth) - found.lower[i].item() <= 4e-6 * scale


def test_the_targeted_margin_is_the_best_of_the_other_classes():
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    net, x = linear_net(weight, torch.zeros(3)), torch.tensor([[2.0, 0.5]])
    found = bound(net, x, torch.tensor([0]), Linf(0.1), target=torch.tensor([2]))
    # z_0 - z_2 = 2 x_0 + x_1 = 4.5, less 0.1 * 3
    assert found.lower.item() == pytest.approx(4.2, rel=1e-5)
    assert found.lower.item() <= 4.2
    met = bound(net, x, torch.tensor([0]), Linf(0.1), target=torch.tensor([0]))
    assert met.lower.item() < 0


def test_the_domain_and_the_mask_narrow_the_box():
    net, x = linear_net(torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.zeros(2)), torch.tensor([[0.05, 0.5]])
    y, domain = torch.tensor([0]), Domain(0, 1)
    assert bound(net, x, y, Linf(0.1), domain).lower.item() == pytest.approx(0.0 + 0.4, abs=1e-5)
    masked = Linf(0.1, mask=torch.tensor([True, False]))
    assert bound(net, x, y, masked, domain).lower.item() == pytest.approx(0.5, abs=1e-5)


def test_l0_lets_each_of_eps_coordinates_move_through_the_domain():
    net = linear_net(torch.tensor([[3.0, 2.0, 1.0], [0.0, 0.0, 0.0]]), torch.zeros(2))
    x, y, domain = torch.ones(1, 3), torch.tensor([0]), Domain(0, 1)
    for eps, left in ((0, 6.0), (1, 3.0), (2, 1.0), (3, 0.0)):
        assert bound(net, x, y, L0(eps), domain).lower.item() == pytest.approx(left, abs=1e-4)


def test_a_grid_and_an_intersection_are_bounded_by_what_encloses_them():
    net, x = linear_net(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), torch.zeros(2)), torch.tensor([[0.6, 0.6]])
    y, domain = torch.tensor([0]), Domain(0, 1)
    on_grid = torch.full((1, 2), 153 / 255)
    alone = bound(net, x, y, Linf(0.1), domain).lower
    gridded = bound(net, on_grid, y, Grid(Linf(0.1), 8), domain).lower
    assert torch.equal(gridded, bound(net, on_grid, y, Linf(0.1), domain).lower)
    both = bound(net, x, y, Both(Linf(0.1), L2(0.05)), domain).lower
    assert both.item() == pytest.approx(bound(net, x, y, L2(0.05), domain).lower.item(), abs=1e-6)
    assert both > alone


def test_an_l2_ball_is_bounded_through_normalisation_better_than_by_its_box():
    torch.manual_seed(0)

    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.tensor([0.1, 0.4, 0.2]).view(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor([0.2, 0.3, 0.5]).view(1, 3, 1, 1))
            self.inner = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))

        def forward(self, x):
            return self.inner((x - self.mean) / self.std)

    net, x, y = Normalised().eval(), torch.rand(5, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    ball, box = bound(net, x, y, L2(0.1)).lower, bound(net, x, y, Linf(0.1)).lower
    l1 = bound(net, x, y, L1(0.1)).lower
    assert (ball > box + 0.1).all()
    assert (l1 >= ball).all()


@pytest.mark.parametrize("eps", [0.05, 0.3, 1.0])
def test_two_neurons_are_never_promised_more_than_enumeration_finds(eps):
    for seed in range(30):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)).eval()
        x, y = torch.randn(1, 1), torch.tensor([0])
        grid = x + torch.linspace(-eps, eps, 4001)[:, None]
        with torch.no_grad():
            truth = Goal(y.expand(4001)).margin(net(grid)).min().item()
        w1, b1, w2, b2 = (p.double() for p in net.parameters())
        low = (w1 @ (x.double().T) + b1[:, None]).squeeze(1) - eps * w1.abs().squeeze(1)
        high = low + 2 * eps * w1.abs().squeeze(1)
        low, high = low.clamp_min(0), high.clamp_min(0)
        v = w2[0] - w2[1]
        plain = (torch.where(v > 0, low, high) * v).sum() + b2[0] - b2[1]
        found = bound(net, x, y, Linf(eps)).lower.item()
        assert found <= truth
        assert found <= plain.item()
        assert found == pytest.approx(plain.item(), abs=1e-5)


def test_a_margin_within_rounding_of_zero_is_left_alone():
    torch.manual_seed(1)
    weight = torch.randn(2, 400)
    x = torch.randn(64, 400)
    gap = x.double() @ (weight[0] - weight[1]).double()
    for shift in (0.0, 1e-6, -1e-6):
        for i in range(8):
            net = linear_net(weight, torch.tensor([float(-gap[i]) + shift, 0.0]))
            assert not bound(net, x[i : i + 1], torch.tensor([0]), Linf(0.0)).certified.item()
    clear = linear_net(weight, torch.tensor([float(-gap[0]) + 0.05, 0.0]))
    assert bound(clear, x[:1], torch.tensor([0]), Linf(0.0)).certified.item()


def test_an_exact_tie_is_not_certified():
    net = linear_net(torch.tensor([[1.0], [1.0]]), torch.zeros(2))
    found = bound(net, torch.ones(1, 1), torch.tensor([0]), Linf(0.1))
    assert not found.certified.item()
    assert "not above 0" in found.why[0]


def test_large_constants_widen_the_bound():
    plain, shifted = (linear_net(torch.eye(2), torch.full((2,), b)) for b in (0.0, 1e6))
    x, y = torch.tensor([[1.0, 0.9]]), torch.tensor([0])
    assert bound(plain, x, y, Linf(0.0)).certified.item()
    assert not bound(shifted, x, y, Linf(0.0)).certified.item()  # 0.1 is below the rounding of 1e6
    far = torch.tensor([[10.0, 0.0]])
    assert bound(shifted, far, y, Linf(0.0)).certified.item()


def test_overflow_and_nan_are_never_certified():
    y = torch.tensor([0])
    for weight in (
        torch.tensor([[3e38], [1e38]]),
        torch.tensor([[float("nan")], [0.0]]),
        torch.tensor([[1e30], [0.0]]),
    ):
        net = nn.Sequential(
            linear_net(weight, torch.zeros(2)), nn.ReLU(), linear_net(torch.eye(2) * 1e9, torch.zeros(2))
        )
        found = bound(net.eval(), torch.ones(1, 1), y, Linf(0.0))
        assert found.lower.item() == float("-inf")
        assert "not finite" in found.why[0]
    unbounded = bound(linear_net(torch.eye(2), torch.zeros(2)), torch.tensor([[5.0, 0.0]]), y, Linf(float("inf")))
    assert not unbounded.certified.item()


def test_what_cannot_be_bounded_says_why():
    x, y = torch.rand(3, 1, 6, 6), torch.tensor([0, 1, 0])
    flat = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    odd = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.Softsign(), nn.Linear(4, 2)).eval()
    cases = [
        (odd, "unsupported operator Softsign at node 2"),
        (nn.Sequential(flat, nn.Softmax(1)).eval(), "unsupported operator softmax at node 1"),
        (nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), "training mode"),
        (copy.deepcopy(flat).eval().half(), "torch.float16"),
        (nn.Sequential(nn.Flatten(), nn.Linear(36, 1)).eval(), "in shape (B, 1)"),
    ]
    for net, words in cases:
        found = interval()(Model(call=lambda z: torch.zeros(len(z), 2), module=net), Linf(0.1).at(x), Goal(y))
        assert not found.certified.any()
        assert found.lower.tolist() == [float("-inf")] * 3
        assert all(words in w for w in found.why), found.why
    found = interval()(Model(call=flat, name="clf.onnx"), Linf(0.1).at(x), Goal(y))
    assert found.why == ("no network to bound: clf.onnx is not an nn.Module",) * 3


def test_a_model_that_is_not_its_network_is_not_certified():
    net = linear_net(torch.tensor([[1.0], [0.0]]), torch.zeros(2))
    around, goal = Linf(0.1).at(torch.ones(1, 1)), Goal(torch.tensor([0]))
    honest = interval()(model_of(net), around, goal)
    other = interval()(Model(call=lambda z: net(z - 0.9), module=net), around, goal)
    assert honest.certified.item()
    assert honest.forward == 1
    assert not other.certified.item()
    assert "does not answer as the model does" in other.why[0]


def test_results_do_not_depend_on_the_batch():
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(1, 5, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(80, 10), nn.ReLU(), nn.Linear(10, 4)
    ).eval()
    x, y, domain = torch.rand(33, 1, 8, 8), torch.arange(33) % 4, Domain(0, 1)
    for threat in (Linf(0.01), L2(0.05), L1(0.1), L0(1)):
        whole = bound(net, x, y, threat, domain)
        alone = [bound(net, x[i : i + 1], y[i : i + 1], threat, domain) for i in range(33)]
        assert torch.equal(whole.lower, torch.cat([b.lower for b in alone]))
        assert whole.why == tuple(b.why[0] for b in alone)
        chunked = interval()(model_of(net, domain, chunk=7), threat.at(x, domain), Goal(y))
        assert torch.equal(whole.lower, chunked.lower)


def test_members_that_the_slack_of_membership_admits_are_enclosed():
    x = torch.full((1, 1), 1.0)
    around = Linf(0.1).at(x)
    edge = torch.tensor([[0.9]])
    while around.contains(torch.nextafter(edge, torch.tensor(0.0))):
        edge = torch.nextafter(edge, torch.tensor(0.0))
    # the threshold lies between the last member and the box: certified at no cost only if the slack were forgotten
    net = linear_net(torch.tensor([[2.0**10], [0.0]]), torch.tensor([-float(edge) * 2.0**10, 0.0]))
    assert around.contains(edge).item()
    assert Goal(torch.tensor([0])).margin(net(edge)).item() <= 0
    assert not interval()(model_of(net), around, Goal(torch.tensor([0]))).certified.item()


def test_reduced_precision_widens_the_bound():
    torch.manual_seed(0)
    net, x, y = linear_net(torch.randn(2, 50), torch.zeros(2)), torch.randn(4, 50), torch.zeros(4, dtype=torch.int64)
    full = bound(net, x, y, Linf(0.0)).lower
    torch.set_float32_matmul_precision("medium")
    try:
        short = bound(net, x, y, Linf(0.0)).lower
    finally:
        torch.set_float32_matmul_precision("highest")
    assert (short < full - 0.1).all()


def test_edits_have_no_bounds_and_an_empty_batch_is_fine():
    net = linear_net(torch.eye(2), torch.zeros(2))
    found = interval()(model_of(net), Edits(1).at(("ab", "c")), Goal(torch.tensor([0, 1])))
    assert all("no bounds for edits" in why for why in found.why)
    assert found.lower.tolist() == [float("-inf")] * 2
    empty = Linf(0.1).at(torch.ones(1, 2)).take(torch.tensor([], dtype=torch.int64))
    assert interval()(model_of(net), empty, Goal(torch.tensor([], dtype=torch.int64))).why == ()


def test_it_is_made_from_its_name():
    certifier = build("certifier", "interval", {})
    assert str(certifier.spec) == "interval()"
