"""Losses of certified training: they bound what they say, and a network trained on them has certificates."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robustly import Gaussian, Linf, interval
from robustly.adapters.modules import from_module
from robustly.certify import crown as certifiers
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.defend.certified_losses import crown_ibp, ibp, mtl_ibp, sabr, smooth_adv
from robustly.goals import Goal
from robustly.steps.boxes import boxed, worst_scores
from robustly.steps.lines import worst_by_lines
from robustly.threats import Domain

UNIT = Domain(0.0, 1.0)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 8),
        nn.Tanh(), nn.Linear(8, 3),
    ).eval()  # fmt: skip


def climb(net, y):
    """A few signed steps, which is all that these losses ask of a search."""

    def search(x, eps):
        z = x.clone()
        for _ in range(3):
            z.requires_grad_()
            (grad,) = torch.autograd.grad(F.cross_entropy(net(z), y), z)
            z = (x + (z.detach() + eps / 2 * grad.sign() - x).clamp(-eps, eps)).clamp(0, 1)
        return z

    return search


@pytest.mark.parametrize("seed", range(3))
def test_boxes_enclose_and_the_merged_last_layer_is_tighter(seed):
    net, g = network(seed), torch.Generator().manual_seed(seed)
    low = torch.rand(5, 1, 4, 4, generator=g)
    high = low + 0.2 * torch.rand(5, 1, 4, 4, generator=g)
    y = torch.tensor([0, 1, 2, 0, 1])
    least, most = boxed(net, low, high)
    worst = worst_scores(net, low, high, y)
    loose = (most - least.gather(1, y[:, None])).scatter(1, y[:, None], 0.0)
    assert (worst <= loose + 1e-5).all()
    assert (worst < loose - 1e-4).any()
    for _ in range(200):
        scores = net(low + (high - low) * torch.rand(low.shape, generator=g).round())
        assert (scores >= least - 1e-5).all()
        assert (scores <= most + 1e-5).all()
        assert (scores - scores.gather(1, y[:, None]) <= worst + 1e-5).all()


def test_the_losses_are_in_their_order():
    net, x = network(), torch.rand(16, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    y = net(x).argmax(1)
    search, eps = climb(net, y), 0.1
    clean, attacked = F.cross_entropy(net(x), y), F.cross_entropy(net(search(x, eps)), y)
    whole = ibp(net, x, y, eps, UNIT)
    assert clean < attacked < whole
    assert torch.allclose(ibp(net, x, y, 0.0, UNIT), clean, atol=1e-5)
    assert torch.allclose(sabr(net, x, y, eps, search, share=1.0, domain=UNIT), whole, atol=1e-5)
    assert torch.allclose(sabr(net, x, y, eps, search, share=0.0, domain=UNIT), attacked, atol=1e-4)
    assert attacked < sabr(net, x, y, eps, search, share=0.3, domain=UNIT) < whole
    mixed = mtl_ibp(net, x, y, eps, search, share=0.25, domain=UNIT)
    assert torch.allclose(mixed, 0.75 * attacked + 0.25 * whole, atol=1e-4)
    for loss in (whole, mixed):
        net.zero_grad()
        loss.backward(retain_graph=True)
        assert all(p.grad is not None for p in net[0].parameters())
    with pytest.raises(UsageError, match="share"):
        sabr(net, x, y, eps, search, share=2.0)
    with pytest.raises(UsageError, match="GELU"):
        ibp(nn.Sequential(nn.Flatten(), nn.GELU(), nn.Linear(16, 3)), x, y, 0.1)
    with pytest.raises(UsageError, match="BatchNorm2d"):
        ibp(network().train(), x, y, 0.1)


def straight(seed, activation=nn.ReLU):
    """A network of lines and kinks alone, of which certifiers compute the same bounds."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), activation(), nn.AvgPool2d(2, 1), nn.Flatten(),
        nn.Sequential(nn.Linear(4, 8), activation()), nn.Dropout(0.5), nn.Linear(8, 3),
    ).eval()  # fmt: skip
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0.5, 2)
    return net


@pytest.mark.parametrize("activation", [nn.ReLU, lambda: nn.LeakyReLU(0.2)], ids=["relu", "leaky"])
@pytest.mark.parametrize("seed", range(3))
def test_worst_scores_by_lines_are_those_of_the_certifier(seed, activation):
    net, x = straight(seed, activation), torch.rand(16, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    y = net(x).argmax(1)
    for eps in (0.0, 0.02, 0.2):
        low, high = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
        worst = worst_by_lines(net, low, high, y)
        least = -worst.scatter(1, y[:, None], -torch.inf).amax(1)
        proven = certifiers.crown_ibp()(from_module(net), Linf(eps).at(x, UNIT), Goal(y)).lower
        assert torch.allclose(least.double(), proven, atol=2e-5)
    plain = worst_scores(net, low, high, y)
    assert (worst < plain - 1e-3).any()
    assert worst.gather(1, y[:, None]).abs().max() == 0


@pytest.mark.parametrize("seed", range(3))
def test_no_member_exceeds_the_lines(seed):
    """With a Tanh, a Sigmoid and a MaxPool2d, which are enclosed by their ends."""
    net, g = network(seed), torch.Generator().manual_seed(seed)
    net[3] = nn.MaxPool2d(2)
    net.insert(7, nn.Sigmoid())
    low = torch.rand(5, 1, 4, 4, generator=g)
    high = low + 0.2 * torch.rand(5, 1, 4, 4, generator=g)
    y = torch.tensor([0, 1, 2, 0, 1])
    worst = worst_by_lines(net, low, high, y)
    seen = torch.full_like(worst, -torch.inf)
    for _ in range(300):
        scores = net(low + (high - low) * torch.rand(low.shape, generator=g).round())
        seen = seen.maximum(scores - scores.gather(1, y[:, None]))
    assert (seen <= worst + 1e-5).all()
    assert (worst - seen).max() < 1


def test_crown_ibp_goes_from_one_kind_of_bound_to_the_other():
    net, x = straight(0), torch.rand(16, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    y, eps = net(x).argmax(1), 0.1
    low, high = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
    lines, boxes = worst_by_lines(net, low, high, y), worst_scores(net, low, high, y)
    for share in (0.0, 0.3, 1.0):
        loss = crown_ibp(net, x, y, eps, share=share, domain=UNIT)
        assert torch.allclose(loss, F.cross_entropy(share * lines + (1 - share) * boxes, y), atol=1e-6)
    assert torch.equal(crown_ibp(net, x, y, eps, share=0.0, domain=UNIT), ibp(net, x, y, eps, UNIT))
    assert torch.allclose(crown_ibp(net, x, y, 0.0, domain=UNIT), F.cross_entropy(net(x), y), atol=1e-5)
    assert crown_ibp(net, x, y, eps, domain=UNIT) < ibp(net, x, y, eps, UNIT)
    alone = torch.stack([crown_ibp(net, x[i : i + 1], y[i : i + 1], eps, domain=UNIT) for i in range(16)])
    assert torch.allclose(alone.mean(), loss, atol=1e-6)
    weight = net[0].weight
    (grad,) = torch.autograd.grad(loss, weight)
    with torch.no_grad():  # the gradient is that of the loss, by differences along it
        way, h = grad / grad.norm(), 1e-3
        sides = []
        for sign in (1, -1):
            weight += sign * h * way
            sides.append(crown_ibp(net, x, y, eps, domain=UNIT))
            weight -= sign * h * way
    assert float((sides[0] - sides[1]) / (2 * h)) == pytest.approx(float(grad.norm()), rel=0.05)
    with pytest.raises(UsageError, match="share"):
        crown_ibp(net, x, y, eps, share=-1)
    with pytest.raises(UsageError, match="GELU"):
        crown_ibp(nn.Sequential(nn.Flatten(), nn.GELU(), nn.Linear(16, 3)), x, y, 0.1)


def test_smooth_adv_is_the_soft_vote():
    net, x = network(), torch.rand(4, 1, 4, 4)
    y, key = torch.tensor([0, 1, 2, 0]), keys.from_ids(0, list("abcd"))
    noise = Gaussian(0.3)
    loss = smooth_adv(net, x, y, noise, key, votes=6)
    drawn = keys.bits(key, 12).reshape(-1, 2)
    copies = x.repeat_interleave(6, 0) + noise.draw(drawn, (1, 4, 4)).float()
    soft = torch.softmax(net(copies), 1).reshape(4, 6, 3).mean(1)
    assert torch.allclose(loss, -soft.gather(1, y[:, None]).log().mean(), atol=1e-5)
    alone = torch.stack([smooth_adv(net, x[i : i + 1], y[i : i + 1], noise, key[i : i + 1], votes=6) for i in range(4)])
    assert torch.allclose(alone.mean(), loss, atol=1e-5)
    z = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(smooth_adv(net, z, y, noise, key, votes=6), z)
    assert smooth_adv(net, x + 0.05 * grad.sign(), y, noise, key, votes=6) > loss


@pytest.mark.parametrize("kind", ["ibp", "crown_ibp", "sabr"])
def test_training_on_it_earns_certificates(kind):
    g = torch.Generator().manual_seed(0)
    x = torch.rand(300, 4, generator=g)
    y = (x[:, 0] + x[:, 1] > 1).long()
    eps, certified = 0.05, {}
    for loss in ("clean", kind):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 2))
        step = torch.optim.Adam(net.parameters(), lr=0.01)
        for i in range(150):
            size = eps * min(1.0, i / 75)
            step.zero_grad()
            total = F.cross_entropy(net(x), y)
            if loss == "ibp":
                total = total + ibp(net, x, y, size, UNIT)
            if loss == "crown_ibp":
                total = total + crown_ibp(net, x, y, size, share=1 - size / eps, domain=UNIT)
            if loss == "sabr":
                total = total + sabr(net, x, y, size, climb(net, y), share=0.7, domain=UNIT)
            total.backward()
            step.step()
        bound = interval()(from_module(net.eval()), Linf(eps).at(x, UNIT), Goal(y))
        certified[loss] = int(bound.certified.sum())
    assert certified[kind] > certified["clean"] + 30
    assert certified[kind] > 170
