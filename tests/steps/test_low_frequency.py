"""Cosines are orthonormal, a spectrum gives its image back, and low directions have low frequencies alone."""

import pytest
import torch

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.steps.border_normal import bell
from robustly.steps.cosines import cosines
from robustly.steps.low_frequency import coefficients, crossing, factor, image_of, low, spectrum_of

KEY = keys.from_ids(0, ["a", "b"])


def test_cosines_are_orthonormal():
    waves = cosines(9, 9)
    assert torch.allclose(waves.T @ waves, torch.eye(9).double(), atol=1e-12)
    assert torch.allclose(cosines(9, 4), waves[:, :4])


def test_an_image_is_the_sum_of_its_waves():
    image = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    spectrum = spectrum_of(image, 6, 5)
    assert torch.allclose(image_of(spectrum, 6, 5), image, atol=1e-5)
    assert torch.allclose(spectrum.square().sum(), image.square().sum(), rtol=1e-5)
    assert torch.allclose(spectrum_of(image, 2, 3), spectrum[..., :2, :3], atol=1e-5)


@pytest.mark.parametrize("draw", [bell, crossing])
def test_low_directions_have_no_high_frequencies_and_are_drawn_by_key(draw):
    noise = low(2.0, draw)(KEY, (3, 1, 8, 6))
    spectrum = spectrum_of(noise, 8, 6)
    assert noise.shape == (2, 3, 1, 8, 6)
    assert coefficients((1, 8, 6), 2.0) == 12
    assert spectrum[..., 4:, :].abs().max() < 1e-3 * spectrum.abs().max()
    assert spectrum[..., 3:].abs().max() < 1e-3 * spectrum.abs().max()
    assert not torch.equal(noise[0], noise[1])
    assert torch.equal(low(2.0, draw)(KEY[1:], (3, 1, 8, 6))[0], noise[1])


def test_numbers_that_are_no_image_have_no_frequencies():
    assert torch.equal(low(4.0)(KEY, (3, 7)), bell(KEY, (3, 7)))


def test_crossing_directions_are_at_right_angles():
    way = crossing(KEY, (5, 4, 3)).flatten(2)
    assert torch.allclose(way @ way.transpose(1, 2), torch.eye(5).expand(2, 5, 5), atol=1e-5)
    assert crossing(KEY, (30, 4, 3)).shape == (2, 30, 4, 3)


def test_a_factor_below_one_is_refused():
    with pytest.raises(UsageError, match="reduce"):
        factor(0.5)
