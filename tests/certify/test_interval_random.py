"""No point of a set ever leaves its bound: random networks, random points, attacks, any batch size."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustly.attacks.pgd import pgd
from robustly.certify.interval import interval
from robustly.core import keys
from robustly.goals import Goal
from robustly.losses import margin
from robustly.oracle import Model, Oracle
from robustly.steps import Case
from robustly.threats import L0, L1, L2, Domain, Linf, Patch
from robustly.threats.patch import PatchSet

CLASSES, SIDE = 3, 8
DOMAIN = Domain(0, 1)


class Residual(nn.Module):
    """A residual block with a strided, channel-padded shortcut, as in the first residual networks."""

    def __init__(self, channels, activation):
        super().__init__()
        self.one = nn.Conv2d(channels, 2 * channels, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(2 * channels)
        self.two = nn.Conv2d(2 * channels, 2 * channels, 3, 1, 1, groups=2)
        self.activation, self.channels = activation, channels

    def forward(self, x):
        short = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.channels))
        out = self.two(self.activation(self.norm(self.one(x))))
        out += short
        return self.activation(out)


class Branches(nn.Module):
    """Two branches joined, a mean over space, sizes read from the input, arithmetic with buffers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.rand(1, 2, 1, 1))
        self.register_buffer("std", torch.rand(2, 1, 1) + 0.3)
        self.a, self.b = nn.Conv2d(2, 3, 3, padding=2, dilation=2), nn.Conv2d(2, 3, 1)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x):
        x = (x - self.mean) / self.std
        h = torch.cat((F.gelu(self.a(x)), torch.tanh(self.b(x)) * 0.7 - 0.1), 1)
        h = (-h).view(h.size(0), h.shape[1], -1).mean(2)
        return 1.5 * self.head(h.reshape(-1, 6)) + 0.25


def architecture(kind):
    activations = [nn.ReLU(), nn.LeakyReLU(0.2), nn.Sigmoid(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Hardtanh()]
    activation = activations[int(torch.randint(len(activations), ()))]
    if kind == "linear":
        return nn.Sequential(nn.Flatten(), nn.Linear(128, 16), nn.BatchNorm1d(16), activation, nn.Linear(16, CLASSES))
    if kind == "conv":
        layers = [
            nn.Conv2d(2, 6, 4, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 1, 1),
            nn.Dropout(0.3),
        ]
        return nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Identity(), nn.Linear(24, CLASSES))
    if kind == "residual":
        return nn.Sequential(Residual(2, activation), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))
    return Branches()


def network(kind, seed, scale):
    torch.manual_seed(seed)
    net = architecture(kind)
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
                part.running_mean.normal_()
                part.running_var.uniform_(0.2, 3)
                part.weight.normal_()
            if isinstance(part, (nn.Linear, nn.Conv2d)):
                part.weight.mul_(scale)
    return net.eval().requires_grad_(False)


def case(kind, seed, threat, scale=1.0, rows=4):
    net = network(kind, seed, scale)
    x, y = torch.rand(rows, 2, SIDE, SIDE), torch.arange(rows) % CLASSES
    model = Model(call=net, module=net, domain=DOMAIN)
    return model, threat.at(x, DOMAIN), Goal(y)


def members(around, count, seed):
    """Random members and corners of one row's set, (count, ...)."""
    many = around.take(torch.zeros(count, dtype=torch.int64))
    key = keys.from_ids(seed, [str(i) for i in range(count)])
    inner = many.sample(key)
    drawn = keys.normal(keys.fold(key, 1), inner.shape[1:])
    if isinstance(around, PatchSet):  # one end of the range or the other in the square of the sample
        corner = torch.where(inner != many.x, (drawn > 0).float(), many.x)
    else:
        corner = many.linear_max(drawn)
    return torch.cat((inner[: count // 2], corner[count // 2 :]))


KINDS = st.sampled_from(["linear", "conv", "residual", "branches"])
THREATS = st.sampled_from(
    [
        Linf(0.0),
        Linf(1e-4),
        Linf(0.02),
        Linf(0.3),
        L2(1e-3),
        L2(0.1),
        L2(2.0),
        L1(0.1),
        L1(3.0),
        L0(1),
        L0(5),
        Patch(1),
        Patch(3),
    ]
)


@given(kind=KINDS, seed=st.integers(0, 10**6), threat=THREATS, scale=st.sampled_from([0.3, 1.0, 30.0]))
@settings(max_examples=40, deadline=None)
def test_no_member_leaves_the_bound_at_batch_1_or_64(kind, seed, threat, scale):
    model, around, goal = case(kind, seed, threat, scale, rows=2)
    found = interval()(model, around, goal)
    assert torch.isfinite(found.lower).all(), found.why
    for row in range(2):
        index = torch.tensor([row])
        z = members(around.take(index), 640, seed)
        for size, part in ((64, z), (1, z[:40])):
            scores = torch.cat([model.ask(some) for some in part.split(size)])
            worst = goal.take(index.expand(len(part))).margin(scores).min()
            assert worst.item() >= found.lower[row].item()


@pytest.mark.parametrize("kind", ["linear", "conv", "residual", "branches"])
def test_ten_thousand_members_stay_inside(kind):
    for threat in (Linf(0.01), L2(0.05)):
        model, around, goal = case(kind, 7, threat)
        found = interval()(model, around, goal)
        index = torch.tensor([1])
        z = members(around.take(index), 10_000, 7)
        scores = torch.cat([model.ask(some) for some in z.split(64)])
        assert goal.take(index.expand(len(z))).margin(scores).min().item() >= found.lower[1].item()


@given(kind=KINDS, seed=st.integers(0, 10**6), threat=THREATS, targeted=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_search_finds_nothing_below_the_bound(kind, seed, threat, targeted):
    model, around, goal = case(kind, seed, threat)
    if targeted:
        goal = goal.toward((goal.y + 1) % CLASSES)
    found = interval()(model, around, goal)
    oracle = Oracle(model, around, goal, press_on=True)
    pgd(10, 0.25, margin)(Case(around, goal, keys.from_ids(seed, ["a", "b", "c", "d"]), oracle))
    assert (oracle.ledger.best_margin >= found.lower).all()
    assert not (oracle.ledger.hit & found.certified).any()


@pytest.mark.parametrize("kind", ["linear", "conv", "residual", "branches"])
def test_bounds_are_close_to_the_truth_for_small_sets(kind):
    """A bound of minus infinity would be sound too: at eps = 0 only rounding is left, and certificates exist."""
    model, around, goal = case(kind, 3, Linf(0.0), rows=8)
    clean = goal.margin(model.ask(around.x)).double()
    assert (clean - interval()(model, around, goal).lower <= 1e-3).all()
    model, around, goal = case(kind, 3, Linf(1e-4), rows=8)
    best = model.ask(around.x).argmax(1)
    assert interval()(model, around, Goal(best)).certified.float().mean() > 0.5
