"""Lipschitz certificates: gains above the true ones and near them, radii below the true ones, and training that earns some."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from robustly import L2, Linf, aol, attack, audit, crown, lipschitz, pgd, sll
from robustly.adapters.modules import from_module
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.steps.norms import largest_gain
from robustly.threats import Domain

UNIT = Domain(0.0, 1.0)


def toeplitz(conv, shape):
    """The convolution as the matrix that it is, for inputs of that shape."""
    n = torch.Size(shape).numel()
    eye = torch.eye(n).reshape(n, *shape)
    with torch.no_grad():
        return (conv(eye) - conv(torch.zeros(1, *shape))).flatten(1).t().double()


@pytest.mark.parametrize("settings", [(3, 1, 1, 1), (3, 2, 1, 1), (2, 2, 0, 1), (3, 1, 2, 2), (1, 1, 0, 1)], ids=str)
def test_gains_are_above_the_true_ones(settings):
    kernel, stride, padding, groups = settings
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, kernel, stride, padding, groups=groups)
    true = float(torch.linalg.matrix_norm(toeplitz(conv, (4, 7, 7)), 2))
    bound = largest_gain(conv.weight, groups)
    assert true <= bound <= 2.5 * true
    w = torch.randn(30, 20)
    assert (
        float(torch.linalg.matrix_norm(w.double(), 2))
        <= largest_gain(w)
        <= 1.0001 * float(torch.linalg.matrix_norm(w, 2))
    )


def test_almost_orthogonal_layers_never_lengthen():
    torch.manual_seed(0)
    linear, conv = aol(nn.Linear(20, 30)), aol(nn.Conv2d(3, 8, 3, stride=2, padding=1))
    assert float(torch.linalg.matrix_norm(linear.weight.detach().double(), 2)) <= 1 + 1e-6
    assert 0.3 < float(torch.linalg.matrix_norm(toeplitz(conv, (3, 8, 8)), 2)) <= 1 + 1e-6
    assert largest_gain(conv.weight) <= 1 + 1e-5
    assert largest_gain(linear.weight) <= 1 + 1e-5
    conv(torch.randn(2, 3, 8, 8)).sum().backward()
    assert conv.parametrizations.weight.original.grad.abs().sum() > 0
    for wrong in (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), nn.Conv2d(2, 2, 3, groups=2), nn.ReLU()):
        with pytest.raises(UsageError, match="aol is for"):
            aol(wrong)


def test_the_radius_of_a_linear_model_is_exact():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
    x = torch.rand(20, 3, 2, 2)
    model = from_module(net)
    with torch.no_grad():
        scores = net(x).double()
    y, w = scores.argmax(1), net[1].weight.detach().double()
    gap = scores.gather(1, y[:, None]) - scores
    far = gap / (w[y][:, None] - w[None]).norm(dim=2).clamp_min(1e-300)
    true = far.scatter(1, y[:, None], torch.inf).amin(1)
    for share, certain in ((0.999, True), (1.001, False)):
        for i in range(20):
            around = L2(float(true[i]) * share).at(x[i : i + 1], Domain())
            bound = lipschitz()(model, around, Goal(y[i : i + 1]))
            assert bool(bound.certified) == (certain and true[i] > 0.01) or true[i] < 0.01
    assert lipschitz()(model, Linf(0.001).at(x, UNIT), Goal(y)).certified.any()
    aimed = lipschitz()(model, L2(0.01).at(x, UNIT), Goal(y, (y + 1) % 3))
    assert (aimed.lower >= lipschitz()(model, L2(0.01).at(x, UNIT), Goal(y)).lower - 1e-9).all()
    assert not lipschitz()(model, L2(0.01).at(x, UNIT), Goal((y + 1) % 3)).certified.any()


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(12, 4)
        self.pool = nn.AvgPool2d(2)

    def forward(self, z):
        z = (z - 0.5) / 0.25
        z = z + torch.relu(self.inner(z))
        z = nn.functional.leaky_relu(self.pool(z), 0.1)
        return self.outer(z.view(z.size(0), -1))


def test_the_bound_is_below_every_margin_that_is_found():
    for seed in range(6):
        torch.manual_seed(seed)
        net = Residual().eval() if seed % 2 else nn.Sequential(
            nn.Conv2d(3, 4, 2, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 4)
        ).eval()  # fmt: skip
        x = torch.rand(16, 3, 4, 4)
        model = from_module(net)
        y = model.ask(x).argmax(1)
        for eps in (0.001, 0.05):
            bound = lipschitz()(model, L2(eps).at(x, UNIT), Goal(y))
            assert torch.isfinite(bound.lower).all()
            found = attack(pgd(10), model, x, y, L2(eps), range=(0, 1), closest=False)
            assert not (found.success & bound.certified).any()
            assert (bound.lower <= found.margin.minimum(Goal(y).margin(model.ask(x)).double())).all()
        assert lipschitz()(model, L2(0.0).at(x, UNIT), Goal(y)).certified.sum() >= 12


def test_training_earns_certificates():
    torch.manual_seed(0)
    x = torch.rand(400, 2)
    y = ((x[:, 0] - 0.5).abs() > 0.25).long()
    net = nn.Sequential(aol(nn.Linear(2, 32)), nn.ReLU(), aol(nn.Linear(32, 32)), nn.ReLU(), aol(nn.Linear(32, 2)))
    climb = torch.optim.Adam(net.parameters(), lr=0.04)
    for _ in range(150):
        climb.zero_grad()
        nn.functional.cross_entropy(100 * net(x), y).backward()
        climb.step()
    record = audit(net.eval(), (x[:100], y[:100]), L2(0.01), [lipschitz(), pgd(5)], range=(0, 1))
    assert record.status == "complete"
    assert record.summary.clean > 0.85
    assert record.summary.certified > 0.5


class Mixing(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(48, 4)

    def forward(self, z):
        return self.last(z.flatten(0).reshape(-1, 48))


def test_what_has_no_gain_is_named():
    x = torch.rand(2, 3, 4, 4)
    goal = Goal(torch.tensor([0, 1]))
    for net, told in (
        (nn.Sequential(nn.MaxPool2d(3, 1), nn.Flatten(), nn.Linear(12, 4)), "overlap"),
        (Mixing(), "mix the rows"),
        (nn.Sequential(nn.Flatten(), nn.GELU(), nn.Linear(48, 4)), "gelu"),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(48, track_running_stats=False), nn.Linear(48, 4)), "batch"),
    ):
        bound = lipschitz()(from_module(net.eval()), L2(0.1).at(x, UNIT), goal)
        assert not bound.certified.any()
        assert told in bound.why[0]


def test_short_floats_and_training_mode_are_refused():
    """The rounding that is taken off is that of float32; eight bits of a bfloat16 are far more."""
    torch.manual_seed(0)
    x, y = torch.rand(4, 6), torch.tensor([0, 0, 0, 0])
    short = nn.Sequential(nn.Linear(6, 3).bfloat16()).eval()
    short.register_forward_pre_hook(lambda _, given: (given[0].bfloat16(),))
    for net, said in ((short, "bfloat16"), (nn.Sequential(nn.Linear(6, 3), nn.ReLU()).train(), "training mode")):
        model = from_module(nn.Linear(6, 3).eval())
        bound = lipschitz()(replace(model, module=net), L2(1e-4).at(x, Domain()), Goal(y))
        assert not bound.certified.any()
        assert all(said in why for why in bound.why)


def test_a_model_that_answers_otherwise_than_its_network_at_any_input_is_refused():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 3)).eval()
    x = torch.rand(4, 6)
    y = net(x).argmax(1)
    model = from_module(net)
    assert lipschitz()(model, L2(1e-6).at(x, Domain()), Goal(y)).certified.all()
    other = replace(
        model, call=lambda z: net(z) + 5 * (z - x[2]).abs().amax(1, keepdim=True).le(0.1) * torch.eye(3)[y[2]]
    )
    bound = lipschitz()(other, L2(1e-6).at(x, Domain()), Goal(y))
    assert not bound.certified.any()
    assert all("does not answer as the model does" in why for why in bound.why)


class Calling(nn.Module):
    """A linear layer, that adds up n numbers, after a function that does more than its name says."""

    def __init__(self, f, n):
        super().__init__()
        self.f, self.last = f, nn.Linear(n, 2, bias=False)
        with torch.no_grad():
            self.last.weight.copy_(torch.stack((torch.ones(n), -torch.ones(n))))

    def forward(self, z):
        return self.last(self.f(z).flatten(1))


TRAPS = {
    "mirrors": (lambda z: nn.functional.pad(z.reshape(-1, 1, 16), (15, 15), "reflect"), 46),
    "slope": (lambda z: nn.functional.leaky_relu(z, 5.0), 16),
    "floor": (lambda z: torch.div(z, 0.5, rounding_mode="floor"), 16),
    "divisor": (lambda z: nn.functional.avg_pool2d(z.reshape(-1, 4, 2, 2), 2, 2, 0, False, True, 1), 4),
    "dilation": (lambda z: torch.max_pool2d(z.reshape(-1, 1, 4, 4), (2, 2), (2, 2), (1, 1), (2, 2)), 4),
    "dropout": (lambda z: torch.dropout(z, 0.5, True), 16),
    "sizes": (lambda z: z.reshape(z.size(0) + 0, 16), 16),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_arguments_by_position_count_too(trap):
    """A rounding mode, a divisor or a dilation given by position changes the gain; sizes are no values."""
    f, n = TRAPS[trap]
    x = -torch.rand(4, 16, generator=torch.Generator().manual_seed(1))
    if trap == "dilation":  # one number that is the largest of all four windows
        x[:, 5] += 1.5
    net = Calling(f, n).eval()
    model = from_module(net)
    y = model.ask(x).argmax(1)
    for eps in (0.01, 0.2):
        bound = lipschitz()(model, L2(eps).at(x, Domain()), Goal(y))
        steps = [torch.ones(4, 16), *torch.eye(16)[:, None].expand(16, 4, 16)]
        steps += list(torch.randn(300, 4, 16, generator=torch.Generator().manual_seed(0)))
        steps = [0.999 * eps * s * nn.functional.normalize(g, dim=1) for g in steps for s in (-1, 1)]
        worst = torch.stack([Goal(y).margin(model.ask(x + step)) for step in steps]).amin(0)
        assert not (bound.lower > worst.double()).any()


def test_one_score_and_labels_beyond_the_classes_certify_nothing():
    x, around = torch.rand(2, 6), L2(1e-6)
    one, three = nn.Linear(6, 1).eval(), nn.Linear(6, 3).eval()
    for net, y in ((one, [0, 0]), (three, [0, 3])):
        model = replace(from_module(three), call=net, module=net)
        bound = lipschitz()(model, around.at(x, Domain()), Goal(torch.tensor(y)))
        assert not bound.certified.any()
        assert "classes" in bound.why[0]


def stretch(layer, shape, seed=0, rounds=60):
    """The most by which a search finds the layer to lengthen a difference of inputs, in float64."""
    layer = layer.double()
    g = torch.Generator().manual_seed(seed)
    best = 0.0
    for _ in range(4):
        x = torch.randn(1, *shape, generator=g).double().requires_grad_()
        d = torch.randn(1, *shape, generator=g).double()
        for _ in range(rounds):  # power iteration with the derivative at x, then x moves toward what it stretches most
            d = d / d.norm()
            _, forward = torch.autograd.functional.jvp(layer, x, d)
            best = max(best, float(forward.norm()))
            (d,) = torch.autograd.grad((layer(x) * forward).sum(), x)
        x = (x + 0.5 * d).detach().requires_grad_()
    return best


LAYERS = {
    "wide": (lambda: nn.Linear(8, 20), (8,)),
    "narrow": (lambda: nn.Linear(8, 3), (8,)),
    "images": (lambda: nn.Conv2d(3, 6, 3, padding=1), (3, 6, 6)),
    "large": (lambda: nn.Conv2d(2, 3, (5, 3), padding=(2, 1)), (2, 7, 5)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_returning_layers_never_lengthen_and_hardly_shorten(kind):
    made, shape = LAYERS[kind]
    torch.manual_seed(0)
    layer = sll(made())
    with torch.no_grad():
        layer.log_q.normal_(std=0.5)
        layer.inner.weight.mul_(3)
    x = torch.randn(5, *shape)
    assert layer(x).shape == x.shape
    assert (layer(x) - x).norm() > 0.1 * x.norm()
    layer(x).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())
    assert 0.9 < stretch(layer, shape) <= 1 + 1e-9
    layer = layer.float()
    n = x[0].numel()
    net = nn.Sequential(layer, nn.Flatten(), nn.Linear(n, 2)).eval()
    plain = nn.Sequential(nn.Flatten(), net[2]).eval()
    y, around = torch.zeros(5, dtype=torch.int64), L2(0.1).at(x, Domain())
    falls = [m.ask(x).double() for m in map(from_module, (net, plain))]
    falls = [
        Goal(y).margin(s) - lipschitz()(from_module(m), around, Goal(y)).lower
        for s, m in zip(falls, (net, plain), strict=True)
    ]
    assert (falls[0] <= falls[1] * 1.001 + 1e-3).all()  # the layer costs nothing but its rounding


@pytest.mark.parametrize("change", ["larger", "leaky", "other", "bias"])
def test_what_only_looks_like_a_returning_layer_is_not_taken_for_one(change):
    """Twice the step back, a step back through other weights, another function between: the plain sum bounds those."""

    class Like(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.last = sll(nn.Linear(6, 12)), nn.Linear(6, 2)
            with torch.no_grad():
                back = self.layer.back().clone()
            back = {"larger": 2 * back, "other": back.flip(0)}.get(change, back)
            self.register_buffer("back", back.t().contiguous())
            self.register_buffer("shift", torch.ones(6))

        def forward(self, x):
            h = self.layer.inner(x)
            h = nn.functional.leaky_relu(h, -1.0) if change == "leaky" else torch.relu(h)
            return self.last(x - nn.functional.linear(h, self.back, self.shift if change == "bias" else None))

    torch.manual_seed(1)
    net, x = Like().eval(), torch.randn(6, 6)
    model = from_module(net)
    y = model.ask(x).argmax(1)
    bound = lipschitz()(model, L2(0.5).at(x, Domain()), Goal(y))
    found = attack(pgd(40), model, x, y, L2(0.5), closest=False)
    assert (bound.lower <= found.margin).all()
    fall = (Goal(y).margin(model.ask(x)).double() - bound.lower).mean()
    single = 0.5 * float((net.last.weight[0] - net.last.weight[1]).detach().norm())
    assert (fall < 1.01 * single) == (change == "bias")
    assert fall >= single * 0.99


def test_training_a_deep_net_of_returning_layers_earns_certificates():
    torch.manual_seed(0)
    x = torch.rand(400, 2)
    y = ((x[:, 0] - 0.5).abs() > 0.25).long()
    net = nn.Sequential(aol(nn.Linear(2, 16)), *(sll(nn.Linear(16, 16)) for _ in range(8)), aol(nn.Linear(16, 2)))
    climb = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(150):
        climb.zero_grad()
        nn.functional.cross_entropy(100 * net(x), y).backward()
        climb.step()
    record = audit(net.eval(), (x[:100], y[:100]), L2(0.01), [lipschitz(), pgd(5)], range=(0, 1))
    assert record.status == "complete"
    assert record.summary.clean > 0.85
    assert record.summary.certified > 0.5
    model = from_module(net)
    alike = crown()(model, L2(0.001).at(x[:20], UNIT), Goal(y[:20]))  # other certifiers read the layers as well
    assert alike.certified.sum() > 10


def test_returning_layers_are_refused_where_they_would_not_return():
    for wrong in (
        nn.Conv2d(2, 2, 3),
        nn.Conv2d(2, 2, 3, padding="same"),
        nn.Conv2d(2, 2, 2, padding=1),
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        nn.Conv2d(2, 2, 3, padding=1, groups=2),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        aol(nn.Linear(3, 3)),
        nn.ReLU(),
    ):
        with pytest.raises(UsageError, match="sll"):
            sll(wrong)


def normed(kind):
    """A network with batch norms, as ordinary training leaves them."""
    torch.manual_seed(4)
    layers = {
        "dense": [nn.Flatten(), nn.Linear(48, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 4)],
        "conv": [nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 4)],
        "before": [nn.BatchNorm2d(3), nn.ConvTranspose2d(3, 2, 2, 2), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(2),
                   nn.Flatten(), nn.Linear(8, 4)],
        "last": [nn.Flatten(), nn.Linear(48, 4), nn.BatchNorm1d(4)],
    }[kind]  # fmt: skip
    net = nn.Sequential(*layers)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.1, 2.0)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return net.eval()


@pytest.mark.parametrize("kind", ["dense", "conv", "before", "last"])
def test_batch_norms_count_and_are_folded(kind):
    net, x = normed(kind), torch.rand(12, 3, 4, 4)
    model = from_module(net)
    y = model.ask(x).argmax(1)
    clean = Goal(y).margin(model.ask(x)).double()
    for eps in (0.001, 0.1):
        bound = lipschitz()(model, L2(eps).at(x, UNIT), Goal(y))
        assert torch.isfinite(bound.lower).all()
        found = attack(pgd(30), model, x, y, L2(eps), range=(0, 1), closest=False)
        assert (bound.lower <= found.margin.minimum(clean)).all()
    assert bound.certified.any() or kind == "before"
    if kind == "dense":  # by hand: gain of the folded layer, times that of the last by class
        scale = net[2].weight / (net[2].running_var + net[2].eps).sqrt()
        folded = float(torch.linalg.matrix_norm((scale[:, None] * net[1].weight).detach().double(), 2))
        w = net[4].weight.detach().double()
        apart = (w[y][:, None] - w[None]).norm(dim=2)
        scores = model.ask(x).double()
        by_hand = scores.gather(1, y[:, None]) - scores - 0.1 * folded * apart
        by_hand = by_hand.scatter(1, y[:, None], torch.inf).amin(1)
        assert torch.allclose(bound.lower, by_hand.detach(), atol=1e-3)
        assert (bound.lower <= by_hand).all()


class Pieces(nn.Module):
    """Strided and padded shortcuts, branches side by side, means: each at its own gain."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.a, self.b = kind, nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 2, 1)
        self.last = nn.Linear({"short": 20, "side": 80, "mean": 3}[kind], 4)

    def forward(self, z):
        if self.kind == "short":
            z = torch.relu(nn.functional.pad(self.a(z), (0, 0, 0, 0, 0, 2))) + nn.functional.pad(
                z[:, :, ::2, ::2], (0, 0, 0, 0, 0, 2)
            )
        elif self.kind == "side":
            z = torch.cat((torch.relu(self.b(z)), z), 1)
        else:
            z = self.a(z).mean((2, 3))
        return self.last(z.flatten(1))


@pytest.mark.parametrize("kind", ["short", "side", "mean"])
def test_pieces_of_ordinary_networks_have_gains(kind):
    torch.manual_seed(2)
    net, x = Pieces(kind).eval(), torch.rand(12, 3, 4, 4)
    model = from_module(net)
    y = model.ask(x).argmax(1)
    clean = Goal(y).margin(model.ask(x)).double()
    bound = lipschitz()(model, L2(0.05).at(x, UNIT), Goal(y))
    found = attack(pgd(30), model, x, y, L2(0.05), range=(0, 1), closest=False)
    assert (bound.lower <= found.margin.minimum(clean)).all()
    gain = {
        "short": 1 + largest_gain(net.a.weight),
        "side": (1 + largest_gain(net.b.weight) ** 2) ** 0.5,
        "mean": largest_gain(net.a.weight) / 2,
    }[kind]
    w = net.last.weight.detach().double()
    scores = model.ask(x).double()
    by_hand = scores.gather(1, y[:, None]) - scores - 0.05 * gain * (w[y][:, None] - w[None]).norm(dim=2)
    by_hand = by_hand.scatter(1, y[:, None], torch.inf).amin(1)
    assert torch.allclose(bound.lower, by_hand, atol=1e-3)
    assert (bound.lower <= by_hand).all()


class Counting(nn.Module):
    """Multiplies by the number of rows."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(6, 3)

    def forward(self, z):
        return self.last(z * z.size(0))


def test_a_network_that_counts_its_rows_is_refused():
    torch.manual_seed(0)
    net, x = Counting().eval(), torch.rand(4, 6)
    model = replace(from_module(nn.Linear(6, 3).eval()), call=net, module=net)
    y = net(x).argmax(1)
    bound = lipschitz()(model, L2(1e-6).at(x, Domain()), Goal(y))
    assert not bound.certified.any()
    assert all("alone than in a batch" in why for why in bound.why)
