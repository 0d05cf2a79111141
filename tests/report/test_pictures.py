import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from tests.report.making import record_of, rows_of

from robustly.core.points import Pair
from robustly.report import pictures
from robustly.report.panels import view
from robustly.report.pictures import Range, change_pixels, image, magnification, pixels, png

UNIT = Range(0.0, 1.0)
draw = np.random.default_rng(3)


def decoded(html: str) -> list[np.ndarray]:
    """Every picture in a piece of HTML, as a browser would decode it."""
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")) for text in found]


@pytest.mark.parametrize("shape", [(7, 5), (1, 7, 5), (3, 7, 5)])
def test_a_picture_decodes_to_its_input(shape):
    x = (draw.integers(0, 256, shape) / 255).astype(np.float32)
    [seen] = decoded(image(pixels(x, UNIT, colour=True), "x"))
    want = np.rint(255 * x.reshape(-1, 7, 5)).astype(np.uint8)
    np.testing.assert_array_equal(seen, np.broadcast_to(np.moveaxis(want, 0, 2), (7, 5, 3)))


def test_other_domains_map_to_black_and_white():
    x = np.array([[[-1.0, 0.0, 1.0]]])
    assert pixels(x, Range(-1, 1), colour=True)[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("largest", "factor"),
    [(0.1, 5.0), (np.float32(0.1), 5.0), (8 / 255, 15.0), (1.0, 0.5), (0.0, 1.0), (0.002, 250.0)],
)
def test_magnification_fills_the_scale(largest, factor):
    delta = np.array([0.0, -largest, largest / 2])
    assert magnification(delta, UNIT) == pytest.approx(factor)


def test_the_change_in_colour_can_be_read_back():
    delta = draw.uniform(-0.1, 0.1, (3, 6, 6))
    delta[:, 0, 0] = 0
    factor = magnification(delta, UNIT)
    shown = change_pixels(delta, UNIT, factor, colour=True)
    back = (shown / 255 - 0.5) / factor
    np.testing.assert_allclose(np.moveaxis(back, 2, 0), delta, atol=0.51 / 255 / factor)
    assert shown[0, 0].tolist() == [128, 128, 128]


def test_the_change_of_one_channel_is_signed_around_grey():
    delta = np.array([[[-0.1, -0.05, 0.0, 0.05, 0.1]]])
    shown = change_pixels(delta, UNIT, magnification(delta, UNIT), colour=True)[0]
    assert shown[0].tolist() == pictures.DOWN.tolist()
    assert shown[2].tolist() == [128, 128, 128]
    assert shown[4].tolist() == pictures.UP.tolist()
    np.testing.assert_allclose(shown[1], (pictures.DOWN + 128) / 2, atol=1)
    np.testing.assert_allclose(shown[3], (pictures.UP + 128) / 2, atol=1)


def test_the_fourth_channel_is_not_hidden():
    delta = np.zeros((4, 2, 2))
    delta[3] = 0.1
    shown = change_pixels(delta, UNIT, 5, colour=True)
    assert shown.shape == (2, 4, 3)
    assert (shown[:, :2] == 128).all()
    assert (shown[:, 2:] == pictures.UP.astype(int)).all()


def test_channels_that_are_no_colours_stand_side_by_side():
    x = np.stack([np.full((2, 2), v) for v in (0.0, 0.5, 1.0, 0.2, 0.9)])
    assert pixels(x, UNIT, colour=True)[0, :, 0].tolist() == [0, 0, 128, 128, 255, 255, 51, 51]
    assert pixels(x[:3], UNIT, colour=False).shape == (2, 6, 3)


def test_channels_last_are_recognised():
    x = draw.uniform(0, 1, (5, 6, 3))
    np.testing.assert_array_equal(pixels(x, UNIT, True), pixels(np.moveaxis(x, 2, 0), UNIT, True))


def test_large_pictures_are_shrunk_and_noise_is_not_averaged_away():
    noise = np.where(draw.uniform(size=(3, 400, 600)) < 0.5, -0.01, 0.01)
    seen = view(Pair(noise + 0.5, np.full_like(noise, 0.5)), record_of(rows_of("c")))
    original, change, _ = (decoded(part)[0] for part in seen.parts)
    assert original.shape == change.shape == (107, 160, 3)
    assert set(np.unique(change)) == {0, 255}
    assert "×50" in seen.scale
    assert "27%" in seen.scale


def test_not_finite_values_do_not_break_the_picture():
    x = np.array([[[np.nan, np.inf, -np.inf, 0.5]]])
    assert pixels(x, UNIT, True)[0, :, 0].tolist() == [0, 255, 0, 128]
    assert pictures.range_of((None, None), x) == Range(0.5, 1.5)
    assert magnification(x, UNIT) == 1.0
    assert png(change_pixels(x, UNIT, 1, True)).startswith(b"\x89PNG")


def test_small_pictures_are_enlarged_by_whole_factors():
    assert 'class="crisp"' in image(np.zeros((28, 28, 3), np.uint8), "x")
    assert 'width="140" height="140"' in image(np.zeros((28, 28, 3), np.uint8), "x")
    assert 'alt="&lt;b&gt;"' in image(np.zeros((28, 28, 3), np.uint8), "<b>")
