"""Images with their channels last: read rightly, given to the model as it wants them, and given back as they came."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from robustly import Linf, Model, attack, audit, pgd, takes_hwc, transfer_matrix
from robustly.core.errors import SoundnessWarning, UsageError

G = torch.Generator().manual_seed(0)
X = torch.rand(8, 3, 6, 5, generator=G)


def first() -> nn.Module:
    """A network of (B, 3, 6, 5)."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)).eval()


class Last(nn.Module):
    """The same network of (B, 6, 5, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = first()

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        assert z.shape[1:] == (6, 5, 3)
        return self.net(z.movedim(-1, 1))


def last() -> nn.Module:
    return Last().eval()


Y = first()(X).argmax(1)
HWC = X.permute(0, 2, 3, 1)


def run(model, x, threat="linf:0.1", **more):
    return attack(pgd(10), model, x, Y, threat, range=(0, 1), **more)


def test_the_result_is_laid_out_as_the_inputs_were():
    plain = run(first(), X)
    assert plain.success.any()
    assert plain.x.shape == X.shape
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = run(first(), HWC, layout="hwc")
    assert found.x.shape == HWC.shape
    assert torch.equal(found.x.permute(0, 3, 1, 2), plain.x)
    assert ((found.x - HWC).abs().flatten(1).amax(1) <= 0.1 + 1e-6).all()
    untouched = ~found.success
    assert torch.equal(found.x[untouched], HWC[untouched])


def test_turning_that_nobody_asked_for_is_told():
    with pytest.warns(SoundnessWarning, match=r"\(8, 6, 5, 3\) are read as \(N, H, W, C\) and turned.*takes_hwc"):
        found = run(first(), HWC)
    assert found.x.shape == HWC.shape
    assert len(found.warnings) == 1


@pytest.mark.parametrize(
    "made", [last, lambda: last().forward, lambda: Model(last())], ids=["module", "callable", "Model"]
)
def test_a_model_that_wants_its_channels_last_is_attacked(made):
    plain = run(first(), X)
    found = run(takes_hwc(made()), HWC, layout="hwc")
    assert torch.equal(found.success, plain.success)
    assert torch.equal(found.x.permute(0, 3, 1, 2), plain.x)


def test_an_audit_reads_and_says_the_same():
    first_record = audit(first(), (X, Y), Linf(0.1), "quick", range=(0, 1))
    for model, layout in ((first(), "hwc"), (takes_hwc(last()), "hwc"), (first(), None)):
        record = audit(model, (HWC.numpy(), Y), Linf(0.1), "quick", range=(0, 1), layout=layout)
        assert [r.verdict for r in record.rows] == [r.verdict for r in first_record.rows]
        assert record.data.shape == (3, 6, 5)
        (told,) = [note for note in record.notes if "turned" in note]
        assert ("takes_hwc" in told) == (layout is None)


def test_a_mask_is_turned_with_its_images():
    mask = torch.zeros(6, 5, 3, dtype=torch.bool)
    mask[1:4] = True
    found = run(first(), HWC, Linf(0.3, mask), layout="hwc")
    assert found.success.any()
    assert ((found.x != HWC).any(0) <= mask).all()
    plain = run(first(), X, Linf(0.3, mask.permute(2, 0, 1)))
    assert torch.equal(found.x.permute(0, 3, 1, 2), plain.x)
    a, b = (
        audit(first(), (x, Y), Linf(0.3, m), "quick", range=(0, 1))
        for x, m in ((X, mask.permute(2, 0, 1)), (HWC, mask))
    )
    assert [r.verdict for r in a.rows] == [r.verdict for r in b.rows]


def test_where_the_shape_says_nothing_the_word_decides():
    x = torch.rand(4, 3, 6, 3, generator=G)
    y = torch.zeros(4, dtype=torch.int64)
    shapes = []

    def seen(z):
        shapes.append(tuple(z.shape[1:]))
        return z.flatten(1)[:, :2]

    found = attack(pgd(2), seen, x, y, Linf(0.1), range=(0, 1), layout="hwc")
    assert set(shapes) == {(3, 3, 6)}
    assert found.x.shape == x.shape
    shapes.clear()
    attack(pgd(2), seen, x, y, Linf(0.1), range=(0, 1), layout="chw")
    assert set(shapes) == {(3, 6, 3)}
    with pytest.raises(UsageError, match='unknown layout "nhwc"'):
        run(first(), X, layout="nhwc")
    with pytest.raises(UsageError, match="unknown layout"):
        audit(first(), (X, Y), Linf(0.1), layout="nhwc")


def test_a_transfer_matrix_has_the_word_too():
    x = torch.rand(4, 3, 6, 3, generator=G).numpy()
    model = nn.Sequential(nn.Flatten(), nn.Linear(54, 2)).eval()
    with pytest.raises(UsageError, match="first or last"):
        transfer_matrix([model], (x, [0, 1, 0, 1]), "linf:0.1", range=(0, 1))
    assert transfer_matrix([model], (x, [0, 1, 0, 1]), "linf:0.1", range=(0, 1), layout="hwc").data.shape == (3, 3, 6)


def test_another_shape_or_a_layout_that_the_data_deny_is_refused():
    with pytest.raises(UsageError, match="four axes"):
        takes_hwc(last())(torch.zeros(2, 5))
    with pytest.raises(UsageError, match='is read as "chw"'):
        audit("zoo:fashion_plain", "zoo:fashion", Linf(0.1), layout="hwc", limit=2)


def test_the_hash_tells_the_two_apart():
    plain, turned = Model(last(), digest="a"), takes_hwc(Model(last(), digest="a"))
    assert turned.digest not in ("", plain.digest)
