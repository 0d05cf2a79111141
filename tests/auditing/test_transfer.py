"""The transfer matrix: what counts, what a hit is, and that its record comes back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.report.hostile import ALL, assert_inert

from robustly import read_transfer, transfer_matrix
from robustly.attacks.mifgsm import mifgsm
from robustly.attacks.pgd import pgd
from robustly.core.errors import AccessError, UsageError
from robustly.oracle import Access, Model
from robustly.report.transfers import matrix_picture, plain_matrix
from robustly.threats import Domain, Linf

UNIT = Domain(0.0, 1.0)


def model(sign=1.0, at=0.5, name="a", weights=(1.0, 1.0)):
    """Class 1 where <w, x> exceeds a threshold, turned round for sign = -1."""
    w = torch.tensor(weights)

    def call(z):
        value = sign * (z @ w - at * w.sum())
        return torch.stack((torch.zeros(len(z)), value), 1)

    return Model(call, UNIT, classes=2, name=name, digest=name * 8)


def data(count=40):
    x = torch.rand(count, 2, generator=torch.Generator().manual_seed(0))
    return x, (x.sum(1) > 1).long()


def test_rates_are_those_of_linear_models():
    """On the first model only the first coordinate counts, and the attack moves it by eps at every example it breaks, which
    are those within eps of the plane; on the second the same move counts 1 and the other coordinate 0.2, which stays."""
    first, second = model(weights=(1.0, 0.0), name="first"), model(weights=(1.0, 0.2), name="second")
    x, _ = data(60)
    y = (x[:, 0] > 0.5).long()
    found = transfer_matrix([first, second], (x, y), Linf(0.1), mifgsm(1, 1.0))
    right = [m.ask(x).argmax(1) == y for m in (first, second)]
    near = ((x[:, 0] - 0.5).abs() < 0.1) & right[0]
    moved = x.clone()
    moved[:, 0] = (x[:, 0] + 0.1 * torch.where(y == 1, -1.0, 1.0)).clamp(0, 1)
    fooled = near & right[1] & (second.ask(moved).argmax(1) != y)
    assert found.cell(0, 0).counted == int(right[0].sum())
    assert found.cell(0, 0).transferred == found.cell(0, 0).found == int(near.sum())
    ours = found.cell(0, 1)
    assert ours.counted == int((right[0] & right[1]).sum())
    assert ours.transferred == int(fooled.sum())
    assert 0 < ours.transferred < ours.found
    assert ours.rate == ours.transferred / ours.counted
    assert ours.interval.low < ours.rate < ours.interval.high


def test_only_examples_that_both_read_rightly_count():
    same, turned = model(name="same"), model(sign=-1.0, name="turned")
    found = transfer_matrix([same, turned], data(), Linf(0.3), mifgsm())
    assert found.clean == (1.0, 0.0)
    assert found.cell(0, 0).counted == 40
    assert found.cell(0, 1).counted == found.cell(1, 0).counted == found.cell(1, 1).counted == 0
    assert found.cell(0, 1).rate is None
    assert set(found.cell(0, 1).bits) == {None}


def test_a_model_and_its_double_share_every_counterexample():
    found = transfer_matrix([model(name="a"), model(name="b")], data(), "linf:0.1", "mifgsm")
    assert found.cell(0, 1).transferred == found.cell(0, 0).transferred > 0
    assert found.cell(0, 1).bits == found.cell(0, 0).bits
    assert sum(bool(b) for b in found.cell(0, 1).bits) == found.cell(0, 1).transferred
    assert found.cell(0, 1).given_found == 1.0


def test_passes_are_counted_as_the_models_saw_them():
    seen = []
    plain = model()

    def call(z):
        seen.append(len(z))
        return plain.call(z)

    found = transfer_matrix([replace(plain, call=call), model(name="b")], data(), Linf(0.1), mifgsm(3))
    assert found.forward[0] == sum(seen)


def test_it_is_the_same_again_and_comes_back(tmp_path):
    runs = [
        transfer_matrix([model(), model(name="b", weights=(1.0, 0.3))], data(), Linf(0.1), pgd(5), seed=3) for _ in "ab"
    ]
    assert runs[0] == runs[1]
    (tmp_path / "transfer.json").write_text(runs[0].to_json())
    assert read_transfer(tmp_path) == runs[0]
    with pytest.raises(Exception, match="frozen"):
        runs[0].seed = 4
    (tmp_path / "transfer.json").write_text('{"schema_version": 99}')
    with pytest.raises(UsageError, match="update robustly"):
        read_transfer(tmp_path)
    with pytest.raises(UsageError, match="no transfer record"):
        read_transfer(tmp_path / "nowhere")


def test_a_model_that_only_answers_can_be_asked_but_not_attacked():
    labels = model(name="labels").granting(Access.LABELS)
    with pytest.raises(AccessError):
        transfer_matrix([model(), labels], data(), Linf(0.1), mifgsm())
    found = transfer_matrix([model(), labels], data(), Linf(0.1), "noise")
    assert found.cell(0, 1).counted == 40


def test_what_makes_no_matrix_is_refused():
    with pytest.raises(UsageError, match="at least one model"):
        transfer_matrix([], data(), Linf(0.1))
    other = replace(model(), domain=Domain(0.0, 255.0))
    with pytest.raises(UsageError, match="different ranges"):
        transfer_matrix([model(), other], data(), Linf(0.1))
    with pytest.raises(UsageError, match="walks in"):
        transfer_matrix([model()], data(), "l2:0.1", "pifgsm")


def test_the_picture_and_the_table_say_the_counts_and_are_inert():
    found = transfer_matrix([model(name="a"), replace(model(), name=ALL)], data(), Linf(0.1), mifgsm())
    picture = str(matrix_picture(found))
    assert_inert(picture)
    cell = found.cell(0, 1)
    assert f"{cell.transferred} of {cell.counted}" in picture
    assert picture.count("<rect") == 4
    text = plain_matrix(found)
    assert "both models read rightly" in text
    assert f"({cell.transferred}/{cell.counted})" in text
    assert "\x1b" not in text
    assert_inert(found._repr_html_())
