"""SSIM and feature distance: against a plain computation of the formula, and projections that reach the edge."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robustly.core.errors import UsageError
from robustly.threats import Domain, Features, Ssim
from robustly.threats.features import features
from robustly.threats.ssim import ssim

UNIT = Domain(0.0, 1.0)


def images(count=3, channels=1, side=14, seed=0):
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(seed))


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(500, 3)
    ).eval()


def test_ssim_is_the_formula_over_windows():
    """Window by window, with weighted variances and covariance about the weighted means."""
    one, other = images(1)[0, 0].double(), images(1, seed=1)[0, 0].double()
    place = torch.arange(11).double() - 5
    row = torch.exp(-(place**2) / (2 * 1.5**2))
    weight = row[:, None] * row[None] / row.sum() ** 2
    found = []
    for top in range(4):
        for left in range(4):
            a, b = (t[top : top + 11, left : left + 11] for t in (one, other))
            ma, mb = (weight * a).sum(), (weight * b).sum()
            va, vb = (weight * (a - ma) ** 2).sum(), (weight * (b - mb) ** 2).sum()
            cov = (weight * (a - ma) * (b - mb)).sum()
            found.append((2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma * ma + mb * mb + 1e-4) * (va + vb + 9e-4)))
    assert torch.allclose(ssim(one[None, None], other[None, None]), torch.stack(found).mean()[None], atol=1e-12)
    assert torch.allclose(ssim(one[None, None], one[None, None]), torch.ones(1).double())


def test_inverted_is_as_far_as_it_goes():
    x = images()
    around = Ssim(0.5).at(x, UNIT)
    assert (around.distance(1 - x) > 1).all()
    assert not around.contains(1 - x).any()
    bytes_ = Ssim(0.5).at(255 * x, Domain(0, 255))
    assert torch.allclose(bytes_.distance(255 - 255 * x), around.distance(1 - x), atol=1e-5)


@pytest.mark.parametrize("make", [lambda: Ssim(0.2), lambda: Features(0.4, network())], ids=["ssim", "features"])
def test_projections_reach_the_edge_and_steps_have_its_size(make):
    x = images()
    around = make().at(x, UNIT)
    far = x + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    z = around.project(far)
    assert around.contains(z).all()
    assert (around.distance(z) > 0.98 * around.eps).all()
    step = (x + around.radius[:, None, None, None] * around.steepest(torch.randn_like(x))).clamp(0, 1)
    assert ((around.distance(step) > 0.02 * around.eps) & (around.distance(step) < 20 * around.eps)).all()


def test_features_are_scaled_by_place_and_layer():
    net, x, z = network(), images(), images(seed=1)
    around = Features(0.3, net, ("0", "3")).at(x, UNIT)
    total = 0
    with torch.no_grad():
        for layers in (1, 4):
            a, b = (F.normalize(net[:layers](t), dim=1) for t in (x, z))
            total = total + ((a - b) ** 2).sum((1, 2, 3)) / (a.shape[2] * a.shape[3])
    assert torch.allclose(around.distance(z), total.sqrt().double(), rtol=1e-4)
    assert not around.distance(x).any()


def test_the_users_network_stays_as_it_was():
    net = network()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    threat = Features(0.3, net)
    assert threat.layers == ("1", "3")
    threat.at(images(), UNIT).sample(torch.zeros(3, 2, dtype=torch.int64))
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in net.state_dict().items())
    assert not any(m._forward_hooks for m in net.modules())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_its_text_tells_the_network_apart():
    other = network()
    with torch.no_grad():
        other[0].weight += 1e-3
    texts = {str(Features(0.3, n, layers)) for n in (network(), other) for layers in (("0",), ("0", "3"))}
    assert len(texts) == 4
    assert str(Features(0.3, network())) == str(Features(0.3, network()))


def test_flat_layers_and_rows_apart():
    x = images(5)
    whole = Features(0.3, network(), ("5",)).at(x, UNIT)
    part = whole.take(torch.tensor([3]))
    assert torch.allclose(part.distance(x[2:3]), whole.distance(x[2:3].expand(5, -1, -1, -1))[3:4])
    assert features(whole.network, ("5",), x).shape == (5, 3)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Features(0.3, network().train()), "training mode"),
        (lambda: Features(0.3, network(), ("9",)), r'no layer "9"\. Known: 0, 1'),
        (lambda: Features(0.3, nn.Sequential(nn.Linear(2, 2)).eval()), "no ReLU"),
        (lambda: Features(0.3, lambda z: z), "nn.Module"),
        (lambda: Features(-1, network()), ">= 0"),
        (lambda: Ssim(3), "at most 2"),
        (lambda: Ssim(float("nan")), "finite"),
        (lambda: Ssim(0.1).at(torch.zeros(2, 5), UNIT), "shape"),
        (lambda: Ssim(0.1).at(torch.zeros(2, 1, 5, 5), Domain()), "bounded range"),
    ],
)
def test_refused(make, says):
    with pytest.raises(UsageError, match=says):
        make()
