"""Image folders and datasets: exact pixels, and every file left out is listed."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from robustly.adapters.data import load_data
from robustly.core.errors import UsageError
from robustly.threats import Domain

DRAW = np.random.default_rng(0)


def png(pixels: np.ndarray, said: int = 0) -> bytes:
    """A PNG written by hand: 8 or 16 bits, grey or RGB or RGBA; `said`: the side its header claims instead."""
    height, width = pixels.shape[:2]
    colour = {2: 0, 3: 2, 4: 6}[pixels.ndim if pixels.ndim == 2 else pixels.shape[2]]
    depth = 8 * pixels.itemsize
    rows = pixels.astype(f">u{pixels.itemsize}").reshape(height, -1)
    body = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", said or width, said or height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def grey(*shape: int) -> np.ndarray:
    return DRAW.integers(0, 256, shape, dtype=np.uint8)


def put(folder: Path, name: str, content: bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_folder_of_png_comes_back_pixel_by_pixel(tmp_path: Path, data: Any) -> None:
    shape = data.draw(st.sampled_from([(3, 4), (4, 3, 3)]))
    pictures = data.draw(st.lists(arrays.arrays(np.uint8, shape), min_size=2, max_size=4))
    folder = tmp_path / data.draw(st.uuids()).hex
    for i, pixels in enumerate(pictures):
        put(folder, f"{'ant' if i < 1 else 'bee'}/{i}.png", png(pixels))
    found = load_data(folder)
    wanted = np.stack([p[None] if p.ndim == 2 else p.transpose(2, 0, 1) for p in pictures])
    assert np.array_equal((found.x * 255).numpy(), wanted.astype(np.float32))
    assert found.y.tolist() == [0, *[1] * (len(pictures) - 1)]
    assert (found.classes, found.domain, found.kind) == (("ant", "bee"), Domain(0.0, 1.0), "image")


def test_order_is_sorted_and_a_limit_is_spread_over_the_classes(tmp_path: Path) -> None:
    for place in ("c", "a", "b"):
        for i in (3, 1, 2):
            put(tmp_path, f"{place}/{i}.png", png(np.full((2, 2), ord(place) + i, np.uint8)))
    data = load_data(tmp_path)
    assert (data.x[:, 0, 0, 0] * 255).round().int().tolist() == [98, 99, 100, 99, 100, 101, 100, 101, 102]
    some = load_data(tmp_path, limit=4)
    assert some.y.tolist() == [0, 0, 1, 2]
    assert set(some.ids) < set(data.ids)
    turned = load_data(tmp_path, classes=("c", "b", "a"))
    assert sorted(turned.y.tolist()) == [0] * 3 + [1] * 3 + [2] * 3
    assert (turned.x[turned.y == 0, 0, 0, 0] * 255).round().int().tolist() == [100, 101, 102]
    with pytest.raises(UsageError, match=r"/c is none of the classes given"):
        load_data(tmp_path, classes=("a", "b", "d"))


def test_what_cannot_be_read_is_left_out_and_listed(tmp_path: Path) -> None:
    good = grey(4, 4, 3)
    clear = np.dstack((good, np.full((4, 4), 255, np.uint8)))
    put(tmp_path, "a/good.png", png(good))
    put(tmp_path, "b/opaque.png", png(clear))
    put(tmp_path, "a/bomb.png", png(np.zeros((1, 1), np.uint8), said=20_000))
    put(tmp_path, "a/large.png", png(np.zeros((1, 1), np.uint8), said=8_000))
    put(tmp_path, "a/clear.png", png(np.dstack((good, grey(4, 4)))))
    put(tmp_path, "a/cmyk.jpg", saved(Image.new("CMYK", (4, 4)), "JPEG"))
    put(tmp_path, "a/deep.png", png(DRAW.integers(0, 65536, (4, 4, 3), dtype=np.uint16)))
    put(
        tmp_path,
        "a/moving.webp",
        saved(Image.new("RGB", (4, 4)), "WEBP", save_all=True, append_images=[Image.new("RGB", (4, 4), "red")]),
    )
    put(tmp_path, "a/torn.png", png(grey(40, 40))[:200])
    put(tmp_path, "a/zero.png", b"")
    put(tmp_path, "b/text.png", b"hello")
    put(tmp_path, "b/readme.txt", b"hello")
    put(tmp_path, "b/.hidden", b"hello")
    data = load_data(tmp_path)
    assert torch.equal(data.x[0], data.x[1])
    assert (data.x[0] * 255).numpy().transpose(1, 2, 0).tolist() == good.tolist()
    (left,) = [n for n in data.notes if "left out" in n]
    assert left.startswith("9 images")
    for name, why in {
        "bomb.png": "more than 50 million pixels",
        "large.png": "8000 x 8000 pixels, more than 50 million",
        "clear.png": "transparent",
        "cmyk.jpg": "CMYK; convert it to RGB",
        "deep.png": "16 bits a colour",
        "moving.webp": "animated",
        "torn.png": "corrupt",
        "zero.png": "0 bytes",
        "text.png": "no PNG, JPEG",
    }.items():
        assert f"{name} " in left
        assert why in left
    assert any("1 files are no PNG" in n and "readme.txt" in n for n in data.notes)


def test_rotation_palettes_and_formats_are_read_as_seen(tmp_path: Path) -> None:
    pixels = grey(3, 5, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    put(tmp_path, "a/turned.png", saved(Image.fromarray(pixels), exif=exif))
    put(tmp_path, "b/as is.bmp", saved(Image.fromarray(np.rot90(pixels, -1).copy()), "BMP"))
    put(tmp_path, "b/less.webp", saved(Image.fromarray(np.rot90(pixels, -1).copy()), "WEBP", lossless=True))
    data = load_data(tmp_path)
    assert data.shape == (3, 5, 3)
    assert torch.equal(data.x[0], data.x[1])
    assert torch.equal(data.x[0], data.x[2])
    bits = tmp_path / "bits"
    put(bits, "a/1.png", saved(Image.fromarray(grey(4, 4) > 100)))
    put(bits, "b/2.png", saved(Image.fromarray(grey(4, 4, 3)).quantize(8)))
    mixed = load_data(bits)
    assert mixed.shape == (3, 4, 4)
    assert set(mixed.x[0].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(mixed.x[0, 0], mixed.x[0, 2])
    assert any("grey images among coloured" in n for n in mixed.notes)


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    pixels = DRAW.integers(0, 65536, (4, 4), dtype=np.uint16)
    put(tmp_path, "a/1.png", png(pixels))
    put(tmp_path, "b/2.png", png(grey(4, 4)))
    data = load_data(tmp_path)
    assert np.array_equal(np.round(data.x[0, 0].double().numpy() * 65535), pixels)
    assert any("65535" in n for n in data.notes)
    with pytest.raises(UsageError, match=r"range \(0, 1\), but range=\(0, 255\) is declared"):
        load_data(tmp_path, range=(0, 255))


def test_folders_that_make_no_data_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "flat/1.png", png(grey(2, 2)))
    with pytest.raises(UsageError, match=r"no class folders.*one folder a class"):
        load_data(tmp_path / "flat")
    with pytest.raises(UsageError, match=r'only 1 class folder, "flat"'):
        load_data(tmp_path)
    put(tmp_path, "other/1.png", png(grey(3, 2)))
    with pytest.raises(UsageError, match=r"different sizes \(2 x 2: flat/1\.png; 2 x 3: other/1\.png\)"):
        load_data(tmp_path)
    for name in ("flat", "other"):
        put(tmp_path, f"{name}/1.png", b"")
    with pytest.raises(UsageError, match=r"0 samples.*1\.png is empty"):
        load_data(tmp_path)


def test_numbered_folders_in_alphabetical_order_are_pointed_out(tmp_path: Path) -> None:
    for i in range(11):
        put(tmp_path, f"{i}/1.png", png(grey(2, 2)))
    data = load_data(tmp_path)
    assert data.classes[:3] == ("0", "1", "10")
    assert any("2 = 10" in n for n in data.notes)


def test_a_dataset_on_disk_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is an extra")
    pixels = [grey(4, 4, 3) for _ in range(3)]
    names = datasets.ClassLabel(names=["cat", "dog"])
    features = datasets.Features({"image": datasets.Image(), "label": names})
    rows = [{"bytes": png(p), "path": None} for p in pixels[:2]] + [{"bytes": b"torn", "path": None}]
    whole = datasets.Dataset.from_dict({"image": rows, "label": [1, 0, 1]}, features=features)
    datasets.disable_progress_bars()
    whole.save_to_disk(tmp_path / "images")
    data = load_data(tmp_path / "images")
    assert np.array_equal((data.x * 255).numpy().transpose(0, 2, 3, 1), np.stack(pixels[:2]).astype(np.float32))
    assert (data.y.tolist(), data.classes, data.kind) == ([1, 0], ("cat", "dog"), "image")
    assert any("image 2 is no PNG" in n for n in data.notes)
    texts = datasets.Dataset.from_dict(
        {"text": ["good", "bad 😀"], "label": [1, 0]},
        features=datasets.Features({"text": datasets.Value("string"), "label": names}),
    )
    datasets.DatasetDict({"test": texts, "train": texts}).save_to_disk(tmp_path / "splits")
    with pytest.raises(UsageError, match=r"splits test, train\. Name one: .*splits/train"):
        load_data(tmp_path / "splits")
    data = load_data(tmp_path / "splits" / "test")
    assert (data.x, data.y.tolist(), data.kind) == (("good", "bad 😀"), [1, 0], "text")
    datasets.Dataset.from_dict({"text": ["a"], "score": [1.0]}).save_to_disk(tmp_path / "none")
    with pytest.raises(UsageError, match=r"no label column.*it has text, score"):
        load_data(tmp_path / "none")


def test_without_datasets_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    put(tmp_path, "state.json", b"{}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install robustly\[datasets\]"):
        load_data(tmp_path)
