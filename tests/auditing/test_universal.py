"""One change for many inputs through the front door: judged, counted, and in the layout of the inputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import robustly
from robustly import L1, L2, Linf
from robustly.core.errors import SoundnessWarning, UsageError


def shifted(count: int = 30):
    """Inputs of one class near its border in a common direction, and the last misread as they are."""
    g = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(10, 3, bias=False)).eval()
    with torch.no_grad():
        net[1].weight.copy_(torch.randn(3, 10, generator=g))
    x = 2 * torch.rand(3000, 10, generator=g) - 1
    scores = net(x).detach()
    gap = scores[:, 0] - scores[:, 1:].amax(1)
    x = torch.cat((x[(gap > 0.05) & (gap < 0.6)][:count], x[gap < -0.2][:2]))
    return net, x, torch.zeros(len(x), dtype=torch.int64)


NET, X, Y = shifted()


@pytest.mark.parametrize(("threat", "p"), [(Linf(0.15), torch.inf), (L2(0.4), 2), (L1(1.0), 1)], ids=str)
def test_the_rate_is_what_the_model_says_of_the_change(threat, p):
    found = robustly.universal(NET, X, Y, threat, range=(-1, 1), times=3)
    assert found.change.norm(p) <= threat.eps * (1 + 1e-6)
    assert torch.equal(found.read, NET(X).argmax(1) == 0)
    assert not found.read[-2:].any()
    assert torch.equal(found.x, (X + found.change).clamp(-1, 1))
    wrong = (NET(found.x).argmax(1) != 0) & found.read
    assert torch.equal(found.fooled, wrong)
    assert found.rate == wrong.sum().item() / 30
    assert found.rate > 0.5
    assert f"{int(wrong.sum())} of 30 fooled" in repr(found)


def test_passes_are_those_the_model_saw():
    seen = {"f": 0, "b": 0}

    def call(z):
        seen["f"] += len(z)
        out = NET(z)
        if out.requires_grad:
            out.register_hook(lambda g: seen.__setitem__("b", seen["b"] + len(g)))
        return out

    found = robustly.universal(call, X, Y, Linf(0.1), range=(-1, 1), times=2)
    assert int(found.forward.sum()) == seen["f"]
    assert int(found.backward.sum()) >= seen["b"] > 0  # the gradients of all classes may go back in one pass
    assert (found.forward[-2:] == 1).all()


def test_a_change_that_the_referee_does_not_confirm_does_not_count():
    """The model errs at changed inputs while it is searched, and never again."""
    asked = {"n": 0}

    def call(z):
        asked["n"] += len(z)
        scores = NET(z)
        return scores if asked["n"] < limit else scores + torch.tensor([100.0, 0, 0])

    limit = 10**9
    before = robustly.universal(call, X, Y, Linf(0.15), range=(-1, 1), times=1, share=1.0)
    assert before.rate > 0.5
    asked["n"], limit = 0, int(before.forward.sum()) - len(X[:30]) + 1
    after = robustly.universal(call, X, Y, Linf(0.15), range=(-1, 1), times=1, share=1.0)
    assert after.rate == 0


def test_the_change_is_laid_out_as_the_inputs_were():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(48, 3)).eval()
    x = torch.rand(12, 3, 6, 5, generator=torch.Generator().manual_seed(1))
    y = net(x).argmax(1)
    plain = robustly.universal(net, x, y, Linf(0.2), range=(0, 1), times=1)
    found = robustly.universal(net, x.permute(0, 2, 3, 1), y, Linf(0.2), range=(0, 1), times=1, layout="hwc")
    assert found.change.shape == (6, 5, 3)
    assert found.x.shape == (12, 6, 5, 3)
    assert torch.equal(found.change.permute(2, 0, 1), plain.change)
    with pytest.warns(SoundnessWarning, match="turned"):
        robustly.universal(net, x.permute(0, 2, 3, 1), y, Linf(0.2), range=(0, 1), times=1)


def test_doubts_are_told():
    with pytest.warns(SoundnessWarning, match="probabilities"):
        robustly.universal(lambda z: NET(z).softmax(1), X, Y, Linf(0.1), range=(-1, 1), times=1)
    with pytest.warns(SoundnessWarning, match="zero or not finite"):
        robustly.universal(
            lambda z: NET(z.round()), X.sign(), NET(X.sign()).argmax(1), Linf(0.1), range=(-1, 1), times=1
        )


@pytest.mark.parametrize(
    ("given", "threat", "said"),
    [
        ({"times": 0}, Linf(0.1), "times must be at least 1"),
        ({"steps": 2.5}, Linf(0.1), "steps of universal must be a whole number"),
        ({"share": 1.5}, Linf(0.1), "share"),
        ({"seed": "a"}, Linf(0.1), "seed of universal must be a whole number"),
        ({"access": "scores"}, Linf(0.1), "needs gradients"),
        ({}, Linf(float("inf")), "one finite eps"),
        ({}, robustly.L0(2), "linf, l2 and l1 balls"),
    ],
)
def test_what_it_cannot_do_is_refused(given, threat, said):
    with pytest.raises(UsageError, match=said):
        robustly.universal(NET, X, Y, threat, range=(-1, 1), **given)


def test_a_model_that_misreads_all_is_refused():
    with pytest.raises(UsageError, match="misreads each"):
        robustly.universal(NET, X[-2:], Y[-2:], Linf(0.1), range=(-1, 1))
