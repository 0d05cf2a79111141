"""Folded batch norms: fewer layers, the same function, and nothing touched that can't be folded."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustly.adapters.folding import Scaled, folded
from robustly.adapters.models import load_model
from robustly.adapters.twin import KINDS, fast_twin, foldable


class Block(nn.Module):
    """A residual block: a norm behind each convolution, and one before them that nothing can take in."""

    def __init__(self, affine: bool = True) -> None:
        super().__init__()
        self.before = nn.BatchNorm2d(4, affine=affine)
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4, affine=affine)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4, affine=affine)

    def forward(self, z: Tensor) -> Tensor:
        """The same shape."""
        inner = F.relu(self.bn1(self.conv1(F.relu(self.before(z)))))
        return F.relu(z + self.bn2(self.conv2(inner)))


class Net(nn.Module):
    """Blocks behind a stem, to 3 scores. peeks: its forward depends on a value, so that it can't be traced."""

    def __init__(self, block: nn.Module, peeks: bool = False) -> None:
        super().__init__()
        self.stem, self.block, self.head, self.peeks = nn.Conv2d(1, 4, 3), block, nn.Linear(4, 3), peeks

    def forward(self, z: Tensor) -> Tensor:
        """Scores."""
        if self.peeks and float(z.detach().sum()) < -1e9:
            return z.new_zeros(len(z), 3)
        return self.head(self.block(self.stem(z)).mean((2, 3)))


class Forked(nn.Module):
    """The convolution's answer is read twice, so the norm behind it can't be folded in."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, z: Tensor) -> Tensor:
        """The same shape."""
        out = self.conv(z)
        return out + self.bn(out)


class Again(nn.Module):
    """One convolution before two norms, and one norm used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn1, self.bn2 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, z: Tensor) -> Tensor:
        """The same shape."""
        return self.bn2(self.bn2(self.bn1(self.conv(z)) + self.conv(z)))


def settled(net: nn.Module) -> nn.Module:
    """Evaluation mode, with statistics and weights that aren't the trivial ones."""
    torch.manual_seed(0)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_()
            part.running_var.uniform_(0.2, 3)
            if part.affine:
                nn.init.normal_(part.weight)
                nn.init.normal_(part.bias)
    return net.eval()


def norms(net: nn.Module) -> list[str]:
    return [name for name, part in net.named_modules() if isinstance(part, nn.BatchNorm2d)]


def same(one: nn.Module, other: nn.Module) -> None:
    z = torch.rand(5, 1, 8, 8, requires_grad=True)
    answers = [net(z) for net in (one, other)]
    grads = [torch.autograd.grad(a[:, 0].sum(), z)[0] for a in answers]
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("peeks", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_norms_go_into_the_convolutions_before_them(peeks, affine):
    net = settled(Net(Block(affine), peeks))
    fast = folded(copy.deepcopy(net))
    assert norms(fast) == []
    assert isinstance(fast.block.before, Scaled)
    assert isinstance(fast.block.bn1, nn.Identity)
    assert isinstance(fast.block.bn2, nn.Identity)
    same(net, fast)


@pytest.mark.parametrize("block", [Forked(), Again()])
def test_what_is_read_twice_keeps_its_function(block):
    net = settled(Net(block))
    fast = folded(copy.deepcopy(net))
    assert not any(isinstance(part, nn.Identity) for part in fast.modules())
    same(net, fast)


def test_shared_hooked_and_computed_weights_stay():
    shared = nn.Conv2d(4, 4, 1)
    hooked, computed = nn.Conv2d(4, 4, 1), nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
    hooked.register_forward_hook(lambda module, given, out: out + 1)
    layers = [shared, nn.BatchNorm2d(4), shared, hooked, nn.BatchNorm2d(4), computed, nn.BatchNorm2d(4)]
    net = settled(Net(nn.Sequential(*layers)))
    fast = folded(copy.deepcopy(net))
    assert not any(isinstance(part, nn.Identity) for part in fast.modules())
    same(net, fast)


def test_a_norm_in_training_mode_is_left_alone():
    net = settled(Net(Block()))
    net.block.bn1.train()
    assert norms(folded(copy.deepcopy(net))) == ["block.bn1"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_twin_leaves_the_original_as_it_is(kind):
    net = settled(Net(Block()))
    before, names = {k: v.clone() for k, v in net.state_dict().items()}, norms(net)
    model = load_model(net, range=(0.0, 1.0), classes=3)
    z = torch.rand(6, 1, 8, 8)
    own = model.ask(z)
    torch.testing.assert_close(fast_twin(model, kind).ask(z), own, rtol=0.05, atol=0.1)
    assert torch.equal(model.ask(z), own)
    assert norms(net) == names
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_only_networks_with_norms_have_something_to_fold():
    assert foldable(load_model(settled(Net(Block())), range=(0.0, 1.0), classes=3))
    assert not foldable(load_model(settled(Net(nn.Identity())), range=(0.0, 1.0), classes=3))
