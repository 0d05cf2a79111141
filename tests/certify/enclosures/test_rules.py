"""Each rule on its own: float32 results stay inside, balls are bounded by what truly maximises, overflow is unknown."""

import pytest
import torch
import torch.nn.functional as F

from robustly.certify.enclosures import affine, pointwise, pooling
from robustly.certify.enclosures.entry import enter
from robustly.certify.enclosures.value import Interval
from robustly.threats import L1, L2, Domain, Linf

GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=GENERATOR)


WEIGHT, BIAS, KERNEL = normal(5, 300), 1e5 * normal(5), normal(6, 8, 3, 3)
MEAN, VARIANCE, SCALE, SHIFT = 100 * normal(8), normal(8).square() + 0.1, normal(8), normal(8)

RULES = {
    "linear": ((200, 300), lambda x: affine.linear(x, WEIGHT, BIAS), lambda x: F.linear(x, WEIGHT, BIAS)),
    "conv2d": ((20, 8, 6, 6), lambda x: affine.conv2d(x, KERNEL, padding=1), lambda x: F.conv2d(x, KERNEL, padding=1)),
    "grouped": (
        (20, 16, 7, 7),
        lambda x: affine.conv2d(x, KERNEL, None, 2, 2, 2, 2),
        lambda x: F.conv2d(x, KERNEL, None, 2, 2, 2, 2),
    ),
    "batch_norm": (
        (50, 8, 3, 3),
        lambda x: pointwise.batch_norm(x, MEAN, VARIANCE, SCALE, SHIFT),
        lambda x: F.batch_norm(x, MEAN, VARIANCE, SCALE, SHIFT),
    ),
    "add": ((2000, 3), lambda x: pointwise.add(x, 1234.56), lambda x: x + 1234.56),
    "sub": ((2000, 3), lambda x: pointwise.sub(0.7, x), lambda x: 0.7 - x),
    "mul": ((2000, 3), lambda x: pointwise.mul(x, 0.3), lambda x: x * 0.3),
    "div": ((2000, 3), lambda x: pointwise.div(x, torch.tensor(0.7)), lambda x: x / torch.tensor(0.7)),
    "residual": ((2000, 3), lambda x: pointwise.add(x, pointwise.mul(x, 2.3)), lambda x: x + x * 2.3),
    "sigmoid": ((2000, 9), pointwise.sigmoid, torch.sigmoid),
    "tanh": ((2000, 9), pointwise.tanh, torch.tanh),
    "gelu": ((2000, 9), pointwise.gelu, F.gelu),
    "gelu tanh": ((2000, 9), lambda x: pointwise.gelu(x, "tanh"), lambda x: F.gelu(x, approximate="tanh")),
    "silu": ((2000, 9), pointwise.silu, F.silu),
    "leaky_relu": ((2000, 9), lambda x: pointwise.leaky_relu(x, 0.3), lambda x: F.leaky_relu(x, 0.3)),
    "avg_pool2d": ((50, 2, 9, 9), lambda x: pooling.avg_pool2d(x, 3, 2, 1), lambda x: F.avg_pool2d(x, 3, 2, 1)),
    "mean": ((200, 4, 7, 7), lambda x: pooling.mean(x, (2, 3)), lambda x: x.mean((2, 3))),
    "sum": ((200, 300), lambda x: pooling.sum(x, 1, True), lambda x: x.sum(1, True)),
}


@pytest.mark.parametrize("name", RULES)
def test_what_float32_computes_lies_inside_the_bounds_of_a_point(name):
    shape, rule, function = RULES[name]
    x = 5 * normal(*shape)
    found, computed, exact = rule(Interval(x.double(), x.double())), function(x).double(), function_in_float64(name, x)
    assert ((found.lower <= computed) & (computed <= found.upper)).all()
    assert ((found.lower <= exact) & (exact <= found.upper)).all()
    assert (found.upper - found.lower).max() < 1e-4 * x.abs().max() * max(1.0, exact.abs().max())
    off = (computed - exact).abs()
    # rounding happens here, and centring on the exact value alone would miss it
    assert (off > 0).any()
    assert ((found.upper - found.lower)[off > 0] >= off[off > 0]).all()


def function_in_float64(name, x):
    """The same function, constants as float32 holds them, in float64."""
    w, b, k = WEIGHT.double(), BIAS.double(), KERNEL.double()
    mean, variance, scale, shift = (t.double() for t in (MEAN, VARIANCE, SCALE, SHIFT))
    x = x.double()
    special = {
        "linear": lambda: F.linear(x, w, b),
        "conv2d": lambda: F.conv2d(x, k, padding=1),
        "grouped": lambda: F.conv2d(x, k, None, 2, 2, 2, 2),
        "batch_norm": lambda: F.batch_norm(x, mean, variance, scale, shift),
        "div": lambda: x / torch.tensor(0.7, dtype=torch.float32).double(),
    }
    return special.get(name, lambda: RULES[name][2](x))()


@pytest.mark.parametrize("activation", ["gelu", "gelu tanh", "silu", "leaky_relu", "tanh", "sigmoid"])
def test_an_activation_encloses_every_point_between_its_ends(activation):
    _, rule, function = RULES[activation]
    low = torch.linspace(-6, 4, 101).double()[:, None]
    high = low + torch.tensor([0.01, 0.3, 2.0, 9.0]).double()
    found = rule(Interval(low.expand_as(high), high))
    for part in torch.linspace(0, 1, 201).tolist():
        value = function((low + part * (high - low)).float()).double()
        assert ((found.lower <= value) & (value <= found.upper)).all()
    assert (found.upper - found.lower <= (high - low) * 1.2 + 0.02).all()


@pytest.mark.parametrize("threat", [L2(0.7), L1(0.7)])
def test_a_ball_seen_through_normalisation_holds_its_own_extremes(threat):
    """For every output unit the member that raises it most is known; it must meet the bound, and nearly touch it."""
    x, std = torch.rand(1, 3, 4, 4, generator=GENERATOR), torch.tensor([0.2, 0.05, 0.6]).view(1, 3, 1, 1)
    value = pointwise.div(pointwise.sub(enter(threat.at(x)), torch.tensor(0.3)), std)
    kernel, weight = normal(2, 3, 4, 4), normal(2, 48)
    units = {
        "conv": (affine.conv2d(value, kernel), lambda z: F.conv2d(z, kernel.double()).flatten(1)),
        "linear": (
            affine.linear(value.moved(lambda v: v.flatten(1)), weight),
            lambda z: F.linear(z.flatten(1), weight.double()),
        ),
    }
    for found, function in units.values():
        for unit in range(2):
            z = x.double().requires_grad_()
            (g,) = torch.autograd.grad(function((z - 0.3) / std.double())[0, unit], z)
            one = F.one_hot(g.abs().flatten().argmax(), 48).view_as(g) * g.sign()
            step = 0.7 * (g / g.norm() if isinstance(threat, L2) else one)
            for sign, side in ((1, found.upper), (-1, found.lower)):
                reached = function((x.double() + sign * step - 0.3) / std.double())[0, unit].item()
                gap = sign * (side.flatten()[unit].item() - reached)
                assert 0 <= gap <= 1e-2


def test_sums_that_may_overflow_on_the_way_are_unknown():
    x = torch.full((1, 2), 1e9, dtype=torch.float64)
    found = affine.linear(Interval(x, x), torch.tensor([[1e30, -1e30]]))
    assert torch.isnan(found.lower).all()
    image = x.view(1, 2, 1, 1)
    assert torch.isnan(affine.conv2d(Interval(image, image), torch.tensor([1e30, -1e30]).view(1, 2, 1, 1)).lower).all()
    assert torch.isnan(pointwise.mul(Interval(x, x), 1e32).lower).all()


def test_unknown_stays_unknown():
    lost = Interval(torch.full((1, 4), torch.nan).double(), torch.full((1, 4), torch.nan).double())
    for found in (
        pointwise.relu(lost),
        pointwise.gelu(lost),
        pointwise.tanh(lost),
        pointwise.hardtanh(lost),
        pointwise.add(lost, 1),
        pooling.mean(lost, 1),
        affine.linear(lost, torch.zeros(1, 4)),
    ):
        assert torch.isnan(found.lower).all()
        assert torch.isnan(found.upper).all()


@pytest.mark.parametrize("x", [1.0, 0.3, -7.7, 1e4])
def test_every_member_by_the_definition_enters(x):
    """`contains` has a slack of one unit in the last place; what it admits beyond eps must be inside the box."""
    around = Linf(0.1).at(torch.full((1, 1), x))
    value, up = enter(around), torch.tensor(float("inf"))
    edge = around.x + 0.1
    while around.contains(torch.nextafter(edge, up)):
        edge = torch.nextafter(edge, up)
    assert edge.double().item() > around.x.double().item() + 0.1 - 1e-9
    assert edge.double().item() <= value.upper.item()
    assert value.upper.item() - edge.item() <= 1e-6 * max(1.0, abs(x))


def test_the_box_follows_the_domain():
    value = enter(Linf(0.1).at(torch.tensor([[0.05, 0.98]]), Domain(0, 1)))
    assert value.lower.tolist()[0] == pytest.approx([0.0, 0.88], abs=1e-6)
    assert value.upper.tolist()[0] == pytest.approx([0.15, 1.0], abs=1e-6)


def test_convolutions_that_may_be_transformed_get_a_wider_bound(monkeypatch):
    x = normal(2, 8, 6, 6)
    value = Interval(x.double(), x.double())
    plain = affine.conv2d(value, KERNEL)
    assert affine.direct(torch.device("cpu")) == torch.backends.mkldnn.is_available()
    assert not affine.direct(torch.device("cuda"))
    monkeypatch.setattr(affine, "direct", lambda device: False)
    wide = affine.conv2d(value, KERNEL)
    assert (wide.lower < plain.lower).all()
    assert (wide.upper > plain.upper).all()
    assert (wide.upper - wide.lower).max() < 0.5
