from __future__ import annotations

import pytest
import torch

from robustly.core.specs import build
from robustly.steps.bases import dct, pixel
from robustly.steps.canvas import enlarged, image_shape, tile_shape
from robustly.steps.cosines import cosines


@pytest.mark.parametrize("basis", [pixel, dct])
@pytest.mark.parametrize("shape", [(1, 1, 5), (3, 4, 6), (1, 7, 7)])
def test_vectors_are_orthonormal_and_span_all(basis, shape):
    channels, height, width = shape
    count = channels * height * width
    vectors = basis(height, width).vectors(torch.arange(count), channels).flatten(1)
    assert torch.allclose(vectors @ vectors.T, torch.eye(count), atol=1e-5)


def test_a_pixel_is_one_number():
    vectors = pixel(3, 4).vectors(torch.arange(24), 2)
    assert torch.equal(vectors.flatten(1), torch.eye(24))


def test_cosines_are_those_of_the_transform():
    """By hand for two numbers: their mean and half their difference, of length one."""
    assert torch.allclose(cosines(2, 2).T.float(), torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / 2**0.5)
    rows = cosines(16, 16).T.float()
    assert torch.allclose(rows[0], torch.full((16,), 0.25))
    turns = (rows[:, 1:].sign() != rows[:, :-1].sign()).sum(1)
    assert turns.tolist() == list(range(16))


def test_low_frequencies_come_first():
    """Of 16 by 16 cosines the lowest 2 by 2, then 4 by 4, 8 by 8 and all."""
    band = dct(16, 16).band
    assert band.unique().tolist() == [0, 1, 2, 3]
    assert [int((band <= i).sum()) for i in range(4)] == [4, 16, 64, 256]
    assert band[1, 1] == 0
    assert band[0, 2] == band[3, 3] == 1


def test_bases_are_found_by_name():
    assert build("basis", "dct", {}) is dct


def test_tiles():
    assert image_shape((3, 5, 7)) == (3, 5, 7)
    assert image_shape((4, 5)) == (1, 1, 20)
    assert tile_shape((3, 28, 10), 14) == (3, 14, 10)
    assert tile_shape((20,), 0) == (1, 1, 20)
    tiles = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    wanted = torch.tensor([[1.0, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])
    assert torch.equal(enlarged(tiles, (1, 4, 4))[0, 0], wanted)
    assert enlarged(tiles[:, :, :1], (5,)).tolist() == [[1, 1, 1, 2, 2]]
