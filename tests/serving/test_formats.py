"""What comes off the wire: read to the last bit, or refused with a sentence that says what is wrong."""

import json
import struct
import zlib

import numpy as np
import pytest
import torch

from robustly.oracle.model import Model
from robustly.serving.formats import read_files, read_json
from robustly.serving.refusals import Refused
from robustly.serving.settings import Serving
from robustly.threats.base import Domain

from .conftest import SHAPE, b64, npy, png


def serving(**settings):
    domain = settings.pop("domain", Domain(0.0, 1.0))
    return Serving(Model(call=lambda z: z, domain=domain), **{"shape": SHAPE, **settings})


def read(inputs, **settings):
    return read_json(json.dumps({"inputs": inputs}).encode(), serving(**settings))


def refusal(body, **settings):
    with pytest.raises(Refused) as found:
        read_json(body if isinstance(body, bytes) else json.dumps({"inputs": body}).encode(), serving(**settings))
    return found.value.status, found.value.sentence


def test_npy_comes_through_bit_for_bit(x):
    assert torch.equal(read([b64(npy(row)) for row in x]), x)
    assert torch.equal(read([b64(npy(row.double().numpy().astype(">f8"))) for row in x]), x)
    assert torch.equal(read([b64(npy(np.asfortranarray(row))) for row in x]), x)


def test_lists_come_through_bit_for_bit_where_all_digits_are_printed(x):
    assert torch.equal(read(x.tolist()), x)
    assert torch.equal(read(x.round(decimals=3).tolist()), x.round(decimals=3))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 3.0), (0.0, 255.0)])
def test_a_png_spans_the_range_of_the_model(x, low, high):
    got = read([b64(png(row)) for row in x], domain=Domain(low, high))
    assert torch.allclose(got, low + (high - low) * (x * 255).round() / 255, atol=1e-6 * (high - low))
    assert torch.equal(read([b64(png(x[0]))]), (x[:1] * 255).round() / 255)
    assert torch.equal(read(["data:image/png;base64," + b64(png(x[0]))]), (x[:1] * 255).round() / 255)


def test_all_levels_are_those_of_eight_bit_data():
    levels = torch.arange(256.0).reshape(1, 16, 16)
    got = read([b64(png(levels / 255))], shape=(1, 16, 16))[0]
    assert torch.equal(got, levels / 255)
    assert torch.equal(read([b64(png(levels / 255))], shape=(1, 16, 16), domain=Domain(0.0, 255.0))[0], levels)


def test_a_grey_png_has_one_channel():
    grey = torch.linspace(0, 1, 6).reshape(1, 2, 3)
    assert torch.equal(read([b64(png(grey))], shape=(1, 2, 3))[0], (grey * 255).round() / 255)


def test_one_request_may_mix_them(x):
    got = read([x[0].tolist(), b64(npy(x[1])), b64(png(x[2]))])
    assert torch.equal(got[:2], x[:2])
    assert torch.equal(got[2], (x[2] * 255).round() / 255)


def test_files_are_read_like_base64(x):
    got = read_files([("a.npy", npy(x[0])), ("b.png", png(x[1]))], serving())
    assert torch.equal(got, torch.stack((x[0], (x[1] * 255).round() / 255)))
    assert read_files([("a", "gut € 𝄞".encode())], serving(text=True)) == ("gut € 𝄞",)


def test_texts_are_texts_even_where_they_look_like_base64():
    assert read(["iVBORw0KGgo=", "", "a\u0000b"], text=True, shape=None) == ("iVBORw0KGgo=", "", "a\u0000b")


def test_rows_of_an_unknown_shape_need_only_be_alike(x):
    assert torch.equal(read(x.tolist(), shape=None), x)
    status, said = refusal([[1.0, 0.5], b64(npy(np.zeros(3, np.float32)))], shape=None)
    assert (status, said) == (422, "input 1 has the shape (3,), input 0 (2,).")


NUMBERS = [[[0.5] * 4] * 2] * 3
OUT = [[[0.5] * 4] * 2] * 2 + [[[0.5] * 4, [0.5, 0.5, 1.25, 0.5]]]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "no JSON"),
        (b"\xff\xfe", 400, "no JSON"),
        (b"[" * 100_000, 400, "no JSON"),
        (b'{"inputs": [[' + b"1" * 6000 + b"]]}", 400, "no JSON"),
        (b'{"inputs": [[NaN]]}', 400, "NaN is no JSON number"),
        (b"[1]", 400, "no object"),
        (b'{"data": [1]}', 400, "an object with data"),
        (b'{"inputs": "abc"}', 400, "is a text; a list"),
        ([], 400, "0 inputs"),
        ([0.5, 0.5], 422, "input 0 is a number"),
        ([None], 422, "input 0 is null"),
        ([{}], 422, "input 0 is an object"),
        ([NUMBERS, NUMBERS[:2]], 422, "input 1 has the shape (2, 2, 4), the model takes (3, 2, 4)"),
        ([NUMBERS, [[[0.5] * 4, [0.5] * 3]] * 3], 422, "input 1: the lists have different lengths"),
        ([[[["0.5"] * 4] * 2] * 3], 422, "no number"),
        ([[[[None] * 4] * 2] * 3], 422, "no number"),
        ([NUMBERS, OUT], 422, "input 1 has 1.25 at [2, 1, 2], outside the range [0, 1]"),
        ([[[[1e39] * 4] * 2] * 3], 422, "beyond float32"),
        ([[[[10**30] * 4] * 2] * 3], 422, "no number"),
        (["%%%"], 422, "no base64"),
        (["€"], 422, "no base64"),
        ([b64(b"GIF89a......")], 422, "neither a PNG nor an npy"),
        ([[]], 422, "the shape (0,)"),
    ],
)
def test_what_is_wrong_is_said(body, status, said):
    found = refusal(body)
    assert found[0] == status
    assert said in found[1]


def test_more_inputs_than_may_come_at_once():
    assert refusal([NUMBERS] * 4, examples=3) == (
        413,
        "4 inputs came in one request, at most 3 are taken. Send them in parts.",
    )


def test_a_pickle_is_never_opened(tmp_path):
    marker = tmp_path / "opened"

    class Evil:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    status, said = refusal([b64(npy(np.array([Evil()], dtype=object)))])
    assert status == 422
    assert "no plain numbers" in said
    assert not marker.exists()


def test_a_header_that_promises_more_than_there_is(x):
    content = npy(x[0])
    huge = content.replace(b"(3, 2, 4)", b"(3, 2, 9)")
    assert refusal([b64(huge)], shape=None)[1].startswith("input 0: its npy header promises (3, 2, 9)")
    vast = content.replace(b"(3, 2, 4), }      ", b"(9**9,9**9), }    ")
    assert "header can't be read" in refusal([b64(vast)], shape=None)[1]
    big = content.replace(b"(3, 2, 4), }            ", b"(99999999999999999,), } ")
    assert "promises (99999999999999999,)" in refusal([b64(big)], shape=None)[1]
    assert refusal([b64(content[:20])])[0] == 422
    assert refusal([b64(b"\x93NUMPY\x03\x00" + content[8:])])[1].startswith("input 0: npy version 3.0")


def test_a_picture_of_another_size_is_refused_before_it_is_unpacked(x):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    assert refusal([b64(bomb)])[1] == "input 0 is 60000 x 60000 pixels, the model takes 4 x 2."
    assert refusal([b64(bomb)], shape=None)[0] == 413
    assert "corrupt" in refusal([b64(png(x[0])[:60])])[1]
    assert "ends in its header" in refusal([b64(png(x[0])[:20])])[1]
    grey = torch.zeros(1, 2, 4)
    assert refusal([b64(png(grey))])[1] == "input 0 has the shape (1, 2, 4), the model takes (3, 2, 4)."
    assert "inputs of the model have the shape (24,)" in refusal([b64(png(x[0]))], shape=(24,))[1]
    assert "no known range" in refusal([b64(png(x[0]))], domain=Domain())[1]


def test_many_pictures_of_an_unknown_size_are_refused_before_they_fill_the_memory():
    white = b64(png(torch.ones(1, 1024, 1024)))  # a few kilobytes, of which a body has room for thousands
    assert len(white) < 10_000
    status, said = refusal([white] * 100, shape=None)
    assert status == 413
    assert "input 0 has 1024 x 1024 pixels" in said
    assert read([white] * 2, shape=None).shape == (2, 1, 1024, 1024)


def test_an_array_of_negative_sides_is_refused(x):
    content = npy(x[0]).replace(b"(3, 2, 4), }  ", b"(-3, 2, -4), }")
    assert "which no array has" in refusal([b64(content)], shape=None)[1]


def test_texts_and_numbers_are_not_mixed_up():
    assert refusal(["a", 3], text=True) == (422, "input 1 is a number; the model reads texts.")
    assert refusal([[0.5]], text=True)[1] == "input 0 is a list; the model reads texts."
    with pytest.raises(Refused, match="no UTF-8"):
        read_files([("a", b"\xff")], serving(text=True))
    with pytest.raises(Refused, match="0 inputs"):
        read_files([], serving())
