"""Lipschitz certificates: gains above the true ones and near them, radii below the true ones, and training that earns some."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from robustly import L2, Linf, aol, attack, audit, lipschitz, pgd
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
        (Mixing(), "mixes the rows"),
        (nn.Sequential(nn.Flatten(), nn.GELU(), nn.Linear(48, 4)), "gelu"),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 4)), "batch_norm"),
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
