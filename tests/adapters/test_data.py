"""Arrays, labels, ranges and layouts: read as meant, or refused with the value and the remedy."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from robustly.adapters.data import load_data
from robustly.adapters.ranges import detect_range
from robustly.core.errors import UsageError
from robustly.threats import Domain

Y = torch.tensor([0, 1, 2, 1])


def unit(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def noted(data: Any, words: str) -> bool:
    return any(words in note for note in data.notes)


def test_arrays_are_read_as_they_are() -> None:
    x = unit(4, 1, 5, 5)
    for given_x, given_y in (
        (x, Y),
        (x.numpy(), Y.numpy()),
        (x.double().numpy(), Y.tolist()),
        (x.requires_grad_(), Y.float()),
    ):
        data = load_data((given_x, given_y))
        assert torch.equal(data.x, x.detach())
        assert data.x.dtype is torch.float32
        assert not data.x.requires_grad
        assert torch.equal(data.y, Y)
        assert data.y.dtype is torch.int64
        assert (data.kind, data.domain, data.shape, len(data), data.source) == (
            "image",
            Domain(0.0, 1.0),
            (1, 5, 5),
            4,
            None,
        )
        assert noted(data, "[0, 1] where no range is declared")
        assert not data.declared
    assert load_data((unit(4, 7), Y)).kind == "array"
    assert noted(load_data((np.full((4, 2), 0.1), Y)), "rounded to float32")


def test_ids_are_of_content_and_label_and_not_of_the_place() -> None:
    x = unit(4, 3)
    data, turned = load_data((x, Y)), load_data((x.flip(0), Y.flip(0)))
    assert turned.ids == data.ids[::-1]
    assert turned.digest != data.digest
    assert data.ids[1] == hashlib.sha256(x[1].numpy().tobytes() + b"|1").hexdigest()[:16]
    assert set(load_data((x, (Y + 1) % 3)).ids).isdisjoint(data.ids)
    copies = load_data((x[[0, 1, 1, 1]], [0, 1, 1, 2]))
    assert len(set(copies.ids)) == 4
    assert copies.ids[:2] == data.ids[:2]
    assert noted(copies, "1 of 4 examples are exact copies")
    cut = load_data(data, limit=2)
    assert (cut.ids, len(cut), len(cut.x)) == (data.ids[:2], 2, 2)
    assert cut.digest == load_data((x[:2], Y[:2])).digest


def test_bytes_become_fractions_unless_declared() -> None:
    x = np.arange(4 * 25, dtype=np.uint8).reshape(4, 5, 5)
    data = load_data((x, Y))
    assert torch.equal(data.x[:, 0], torch.from_numpy(x).float() / 255)
    assert (data.domain, data.kind, data.shape) == (Domain(0.0, 1.0), "image", (1, 5, 5))
    assert noted(data, "divided by 255")
    assert noted(data, "grey images (4, 1, 5, 5)")
    kept = load_data((x, Y), range=(0, 255))
    assert torch.equal(kept.x[:, 0], torch.from_numpy(x).float())
    assert kept.domain == Domain(0.0, 255.0)
    assert not noted(kept, "divided")


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (unit(4, 3, 5, 5) * 255, r"look like 0\.\.255: they reach from .* to 25\d.*range=\(0, 255\)"),
        (
            unit(4, 3, 5, 5) * 2,
            r"reach from \S+ to (1\.9\d*), which is neither 0\.\.1 nor 0\.\.255\. Declare.*range=\(0, \1\)",
        ),
        ((unit(4, 3, 5, 5) * 40).round(), r"look like 0\.\.255: they reach from 0 to 40"),
        ((unit(4, 60) * 255).round(), r"look like 0\.\.255"),
        (torch.full((4, 3), 1.0).index_fill(0, torch.tensor([2]), float("nan")), r"input 2 has nan at \(0,\); 1 of 4"),
        (torch.full((4, 3), 1.0).index_fill(0, torch.tensor([3]), float("inf")), r"input 3 has inf at \(0,\)"),
        (torch.zeros(0, 3), "0 samples"),
        ([], "0 samples"),
        (torch.zeros(4), r"shape \(4,\); one row an example"),
        (torch.zeros(4, 0), r"shape \(4, 0\).*empty"),
        (torch.arange(12).reshape(4, 3), r"int64, from 0 to 11.*x\.float\(\) / 255"),
        (np.arange(12, dtype=np.uint16).reshape(4, 3), r"int64, from 0 to 11"),
        (torch.zeros(4, 3, dtype=torch.bool), r"inputs are bool"),
        (torch.zeros(4, 3, dtype=torch.complex64), r"complex64.*real"),
        ([[1.0], [1.0, 2.0], [0.0], [0.0]], "different shapes"),
        (np.array([[object()]] * 4), "type object can't be read"),
        (["a", "b", 3, "d"], "input 2 is no text but a int"),
    ],
)
def test_inputs_that_would_mislead_are_refused(x: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        load_data((x, Y))


def test_a_declared_range_is_checked_and_a_missing_one_is_told() -> None:
    x = unit(4, 1, 5, 5) * 254
    assert load_data((x, Y), range=(0, 255)).domain == Domain(0.0, 255.0)
    value = x[0, 0, 0, 0].item()
    with pytest.raises(
        UsageError,
        match=rf"input 0 has the value {value:g} at \(0, 0, 0\), outside .*\[0, 1\].*0\.\.255.*range=\(0, 255\)",
    ):
        load_data((x, Y), range=(0, 1))
    with pytest.raises(
        UsageError,
        match=r"input 2 has the value -1 at \(1,\), outside the declared range \[0, 1\]\. Declare.*range=\(-1, 0\)",
    ):
        load_data(
            (torch.zeros(4, 3).index_put((torch.tensor(2), torch.tensor(1)), torch.tensor(-1.0)), Y), range=(0, 1)
        )
    assert noted(load_data((unit(4, 1, 5, 5), Y), range=(0, 255)), "divided by 255 already")
    with pytest.raises(UsageError, match=r"outside .*\[0, 1\]\. Declare the range.*range=\(0.*, 2\)"):
        load_data((2 * unit(4, 1, 5, 5).round(), Y), range=(0, 1))
    flowers = load_data((unit(4, 4) * 7.9, Y))  # a table of lengths is no image
    assert flowers.domain == Domain()
    assert noted(flowers, "an attacker may leave that")
    assert load_data((unit(4, 4), Y), range=(0, 1)).declared
    assert noted(load_data((unit(4, 3, 5, 5) * 4 - 2, Y)), "look normalised")


@given(st.floats(-3, 300, width=32), st.floats(-3, 300, width=32))
def test_a_detected_range_always_holds_the_data(one: float, other: float) -> None:
    x = torch.tensor([[[[one, other]]]])
    try:
        domain, note = detect_range(x)
    except UsageError:
        assert 1.5 < x.max() <= 255
        assert x.min() >= 0
        return
    assert ((x >= domain.low) & (x <= domain.high)).all()
    assert (domain == Domain(0.0, 1.0)) == ("[0, 1] where no range is declared" in note)


def test_channels_come_first() -> None:
    x = unit(4, 6, 5, 3)
    for given_x in (x, x.numpy()):
        data = load_data((given_x, Y))
        assert torch.equal(data.x, x.permute(0, 3, 1, 2))
        assert noted(data, "read as (N, H, W, C) and turned")
    assert load_data((unit(4, 1, 4, 4), Y)).shape == (1, 4, 4)
    assert load_data((unit(4, 8, 7, 7), Y)).kind == "array"
    for both in ((3, 8, 3), (1, 8, 1), (1, 9, 3)):
        with pytest.raises(UsageError, match=r'first or last.*layout="chw" or layout="hwc"'):
            load_data((unit(4, *both).numpy(), Y))
        assert load_data((unit(4, *both), Y)).shape == both  # torch's own custom
        assert load_data((unit(4, *both).numpy(), Y), layout="hwc").shape == (both[2], *both[:2])
    with pytest.raises(UsageError, match='unknown layout "nhwc"'):
        load_data((x, Y), layout="nhwc")


@pytest.mark.parametrize(
    ("y", "told"),
    [
        (None, "4 inputs but no labels"),
        ([0, 1], "4 inputs and 2 labels"),
        ([0, 1, -1, 2], "label 2 is -1; labels start at 0"),
        ([0, 1, 0.5, 2], r"label 2 is 0\.5; labels are whole"),
        ([0, 1, float("nan"), 2], "label 2 is nan"),
        (torch.ones(4, 1, 2), r"shape \(4, 1, 2\)"),
        (torch.tensor([[0.2, 0.8]] * 4), r"one-hot, but row 0 is \[0\.2.*argmax"),
        (torch.eye(4)[[0, 1, 2, 3]] * torch.tensor([1, 1, 0, 1.0]), r"row 2 is \[0"),
        (["cat"] * 4, '"cat": there is only 1 class'),
        (["cat", None, "dog", "dog"], "label 1 is missing"),
    ],
)
def test_labels_that_would_mislead_are_refused(y: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        load_data((unit(4, 3), y))


def test_labels_of_other_forms_are_mapped_and_noted() -> None:
    hot = load_data((unit(4, 3), torch.eye(3)[Y]))
    assert torch.equal(hot.y, Y)
    assert noted(hot, "one-hot of 3 classes")
    assert torch.equal(load_data((unit(4, 3), Y[:, None])).y, Y)
    named = load_data((unit(4, 3), ["dog", "ant", "cat", "ant"]))
    assert (named.y.tolist(), named.classes) == ([2, 0, 1, 0], ("ant", "cat", "dog"))
    assert noted(named, "alphabetical order: 0 = ant, 1 = cat, 2 = dog")
    given_order = load_data((unit(4, 3), ["dog", "ant", "cat", "ant"]), classes=("dog", "cat", "ant"))
    assert given_order.y.tolist() == [0, 2, 1, 2]
    with pytest.raises(UsageError, match=r'label 0 is "dog".*none of the classes'):
        load_data((unit(4, 3), ["dog", "ant", "cat", "ant"]), classes=("dgo", "ant", "cat"))
    with pytest.raises(UsageError, match="label 2 is 2, but there are 2 classes"):
        load_data((unit(4, 3), Y), classes=("a", "b"))
    with pytest.raises(UsageError, match=r"label 1 is 3, but there are 3 classes.*start at 1: subtract 1"):
        load_data((unit(4, 3), [1, 3, 2, 1]), classes=("a", "b", "c"))
    with pytest.raises(UsageError, match='only 1 class, "a"'):
        load_data((unit(4, 3), Y), classes=("a",))
    with pytest.raises(UsageError, match='"a" stands twice'):
        load_data((unit(4, 3), Y), classes=("a", "a", "b"))


@pytest.mark.parametrize(("inputs", "labels"), [("x", "y"), ("X", "labels"), ("images", "targets"), ("data", "y")])
def test_npz_and_safetensors_are_read(tmp_path: Path, inputs: str, labels: str) -> None:
    x = unit(4, 1, 5, 5)
    np.savez_compressed(tmp_path / "d.npz", **{inputs: x.numpy(), labels: Y.numpy()})
    save_file({inputs: x, labels: Y}, tmp_path / "d.safetensors")
    for name in ("d.npz", "d.safetensors"):
        data = load_data(str(tmp_path / name))
        assert torch.equal(data.x, x)
        assert torch.equal(data.y, Y)
        assert (data.name, data.source) == ("d", str(tmp_path / name))
    half = tmp_path / "half.safetensors"
    save_file({"x": x.bfloat16(), "y": Y}, half)
    assert torch.equal(load_data(half).x, x.bfloat16().float())


class Bomb:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.mkdir, (self.marker,)


def test_files_of_arrays_that_are_wrong_say_what_they_hold(tmp_path: Path) -> None:
    np.savez(tmp_path / "keys.npz", pixels=np.zeros((2, 3)), y=[0, 1])
    with pytest.raises(UsageError, match=r'no "x" \(x, X, images, data\); it has pixels, y'):
        load_data(tmp_path / "keys.npz")
    save_file({"x": torch.zeros(2, 3)}, tmp_path / "keys.safetensors")
    with pytest.raises(UsageError, match=r'no "y" .*it has x'):
        load_data(tmp_path / "keys.safetensors")
    objects = np.empty(1, dtype=object)
    objects[0] = Bomb(str(tmp_path / "ran"))
    np.savez(tmp_path / "objects.npz", x=objects, y=[0])
    with pytest.raises(UsageError, match=r"Python objects.*run code"):
        load_data(tmp_path / "objects.npz")
    assert not (tmp_path / "ran").exists()
    (tmp_path / "torn.npz").write_bytes((tmp_path / "keys.npz").read_bytes()[:100])
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "keys.safetensors").read_bytes()[:30])
    for name in ("torn.npz", "torn.safetensors"):
        with pytest.raises(UsageError, match=f"{name} is damaged"):
            load_data(tmp_path / name)
    (tmp_path / "empty.npz").touch()
    with pytest.raises(UsageError, match="0 bytes"):
        load_data(tmp_path / "empty.npz")
    (tmp_path / "d.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r'cannot read data from "d\.parquet"'):
        load_data(tmp_path / "d.parquet")


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from robustly.adapters import tables

    monkeypatch.setattr(tables, "_BOMB", (1 << 20, 200))  # the same rule at a size a test can write
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\0" * (8 << 20))
    with pytest.raises(UsageError, match=r"would unpack to 8 MiB, \d+ times its size"):
        load_data(tmp_path / "bomb.npz")


def test_words_and_limits_that_mean_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match=r'there is no "zo:fashion".*zoo:fashion'):
        load_data("zo:fashion")
    with pytest.raises(UsageError, match="limit must be at least 1, got 0"):
        load_data((unit(4, 3), Y), limit=0)
    with pytest.raises(UsageError, match="got a tuple of 3"):
        load_data((unit(4, 3), Y, Y))  # type: ignore[arg-type]
    ordered = load_data((unit(6, 3), [0, 0, 0, 1, 1, 2]), limit=4)
    assert noted(ordered, "first 4 examples are of 2 of the 3 classes")


def test_the_carried_images_are_read() -> None:
    data = load_data("zoo:fashion", limit=10)
    assert (data.kind, data.shape, len(data.classes), data.domain) == ("image", (1, 28, 28), 10, Domain(0.0, 1.0))
    assert len(data) == 10
    assert data.x.std() > 0.1
