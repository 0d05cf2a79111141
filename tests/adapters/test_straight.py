"""A part without a gradient: exact forward, another gradient backward, and an attack that gets through."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import robustly
from robustly import attack, audit, straight_through
from robustly.adapters.digests import module_digest
from robustly.attacks.pgd import pgd
from robustly.core.errors import SoundnessWarning, UsageError
from robustly.losses import margin
from robustly.threats import Linf
from robustly.zoo.load import images, network


def rounded(z):
    """Eight levels."""
    return (z * 7).round() / 7


def jpeg(z):
    """What is left of gray images after JPEG at quality 60."""
    out = []
    for image in (z[:, 0] * 255).round().byte().numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "jpeg", quality=60)
        out.append(np.asarray(Image.open(file), dtype=np.float32) / 255)
    return np.stack(out)[:, None]


def test_forward_to_the_last_bit_and_the_gradient_of_another():
    z = torch.rand(4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    part = straight_through(rounded)
    assert torch.equal(part(z), rounded(z))
    assert torch.equal(part(z.detach()), rounded(z))
    weights = torch.arange(20.0).view(4, 5)
    (grad,) = torch.autograd.grad((part(z) * weights).sum(), z)
    assert torch.equal(grad, weights)
    bent = straight_through(lambda z: rounded(z).numpy(), lambda z: z.square())
    (grad,) = torch.autograd.grad((bent(z) * weights).sum(), z)
    assert torch.equal(bent(z), rounded(z))
    assert torch.allclose(grad, 2 * z * weights)


def test_what_it_wraps_may_write_into_its_input_and_change_the_shape():
    def scribbling(z):
        return z.zero_() + 1

    z = torch.rand(2, 3, requires_grad=True)
    before = z.detach().clone()
    assert torch.equal(straight_through(scribbling)(z), torch.ones(2, 3))
    assert torch.equal(z.detach(), before)
    with pytest.raises(UsageError, match=r"\(2, 3\) into \(2, 1\).*backward"):
        straight_through(lambda z: z[:, :1])(z)
    fine = straight_through(lambda z: z[:, :1].round(), lambda z: z[:, :1])
    assert fine(z).shape == (2, 1)
    with pytest.raises(UsageError, match="function or a module"):
        straight_through(3)


@pytest.mark.parametrize(("defence", "eps"), [(rounded, 0.1), (jpeg, 0.1)], ids=["quantised", "jpeg"])
def test_a_defence_that_hides_the_gradient_falls(defence, eps):
    x, y, _ = images("fashion")
    net = network("fashion_plain")
    hidden = (lambda z: net(rounded(z))) if defence is rounded else nn.Sequential(_Torn(jpeg), net).eval()
    open_ = nn.Sequential(straight_through(defence), net).eval()
    keep = (open_(x[:60]).argmax(1) == y[:60]).nonzero().squeeze(1)[:30]
    x, y = x[keep], y[keep]
    through = attack(pgd(10, 0.25, margin), open_, x, y, Linf(eps), range=(0, 1))
    assert through.success.float().mean() > 0.8
    assert (open_(through.x).argmax(1) != y)[through.success].all()
    if defence is rounded:  # there is a graph, and its gradient is zero everywhere
        with pytest.warns(SoundnessWarning, match="masked gradients"):
            blind = attack(pgd(10, 0.25, margin, robustly.steps.clean), hidden, x, y, Linf(eps), range=(0, 1))
        assert not blind.success.any()
        record = audit(hidden, (x, y), Linf(eps), plan=[pgd(3, 0.25, margin)], range=(0, 1))
        assert any("masked gradients" in w for w in record.warnings)
    else:
        record = audit(hidden, (x, y), Linf(eps), plan=[robustly.noise(3)], range=(0, 1))
        assert any("no gradient flows" in w for w in record.warnings)


class _Torn(nn.Module):
    """The defence as people write it: numpy in the middle."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, z):
        return torch.as_tensor(self.part(z.detach()))


def test_another_function_is_another_model():
    digests = {module_digest(straight_through(f)) for f in (rounded, jpeg, lambda z: z.round())}
    assert len(digests) == 3
    assert module_digest(straight_through(rounded)) == module_digest(straight_through(rounded))
    assert not straight_through(rounded).training
    assert straight_through(nn.Dropout()).exact.training  # so the mode of a wrapped module is still looked at
