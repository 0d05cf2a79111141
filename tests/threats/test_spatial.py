"""Turning and moving images: the direction, the centre, values between pixels, and which members there are."""

import math

import pytest
import torch
import torch.nn.functional as F

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.threats import Domain, Rotate, Shift
from robustly.threats.enumerated import LEVELS
from robustly.threats.spatial import turned

UNIT = Domain(0.0, 1.0)


def images(count=3, channels=2, height=7, width=7, seed=0):
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("side", [6, 7])
def test_a_quarter_turn_is_counter_clockwise(side):
    x = images(height=side, width=side).double()
    assert torch.allclose(turned(x, 90, 0, 0), torch.rot90(x, 1, (2, 3)), atol=1e-12)
    assert torch.allclose(turned(x, -90, 0, 0), torch.rot90(x, -1, (2, 3)), atol=1e-12)
    assert torch.allclose(turned(x, 180, 0, 0), x.flip(2, 3), atol=1e-12)


def test_a_shift_moves_down_and_right_and_black_enters():
    x = images().double()
    z = turned(x, 0, 2, 1)
    assert torch.equal(z[:, :, 2:, 1:], x[:, :, :-2, :-1])
    assert not z[:, :, :2].any()
    assert not z[..., :1].any()


@pytest.mark.parametrize(("height", "width"), [(9, 9), (6, 11)])
@pytest.mark.parametrize("degrees", [-33.0, 5.0, 17.0, 120.0])
def test_between_pixels_as_torch_samples(degrees, height, width):
    """An independent bilinear sampler, in its own coordinates."""
    x = images(height=height, width=width).double()
    angle = math.radians(degrees)
    rows, columns = torch.meshgrid(
        torch.arange(height).double() - (height - 1) / 2, torch.arange(width).double() - (width - 1) / 2, indexing="ij"
    )
    across = columns * math.cos(angle) - rows * math.sin(angle)
    down = columns * math.sin(angle) + rows * math.cos(angle)
    grid = torch.stack((across / (width - 1) * 2, down / (height - 1) * 2), -1).expand(len(x), -1, -1, -1)
    expected = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    assert torch.allclose(turned(x, degrees, 0, 0), expected, atol=1e-9)


def test_turn_first_then_move():
    x = images().double()
    assert torch.allclose(turned(x, 20, 0, 2)[..., 2:], turned(x, 20, 0, 0)[..., :-2])


def test_all_members_are_there_once_the_smallest_first():
    around = Rotate(4, shift=1, step=2).at(images(), UNIT)
    assert around.count == 5 * 9
    sizes = [around.size_of(n) for n in range(around.count)]
    assert sizes == sorted(sizes)
    assert [sizes.count(s) for s in (0, 2, 4)] == [9, 18, 18]
    members = torch.stack([around.member(n)[0] for n in range(around.count)])
    assert len(members.unique(dim=0)) == around.count
    expected = turned(around.x.double(), 4, -1, 1)
    assert ((members - expected[0]).flatten(1).abs().amax(1) < 1 / LEVELS).sum() == 1
    assert [Shift(2).at(images(), UNIT).size_of(n) for n in (0, 1, 8, 9, 24)] == [0, 1, 1, 2, 2]


def test_sets_are_nested():
    x = images()
    small, large = Rotate(3).at(x, UNIT), Rotate(7).at(x, UNIT)
    for n in range(small.count):
        assert large.contains(small.member(n)).all()
        assert torch.equal(large.distance(small.member(n)), small.distance(small.member(n)))
    assert not small.contains(large.member(large.count - 1)).any()


def test_membership_is_to_the_bit_and_of_the_own_row():
    x = images()
    around = Rotate(10).at(x, UNIT)
    z = around.member(7)
    assert around.contains(z).all()
    assert torch.equal(around.distance(z), torch.full((3,), around.size_of(7), dtype=torch.float64))
    assert not around.contains(z.roll(1, 0)).any()
    assert not around.contains(torch.nextafter(z, torch.tensor(2.0))).any()
    assert around.contains(x).all()


def test_a_row_has_the_same_bits_in_any_batch():
    around = Rotate(20, shift=1).at(images(37), UNIT)
    for n in (3, 50, 200):
        whole = around.member(n)
        assert torch.equal(around.take(torch.tensor([17])).member(n), whole[17:18])
        assert torch.equal(around.pick(torch.full((37,), n)), whole)


def test_samples_reach_many_members():
    around = Shift(1).at(images(200), UNIT)
    sizes = around.distance(around.sample(keys.from_ids(0, [str(i) for i in range(200)])))
    assert 5 <= (sizes == 0).sum() <= 50  # a ninth
    assert (sizes == 1).sum() > 140


def test_another_range_is_the_same_picture():
    x = images()
    here, there = Rotate(10).at(x, UNIT), Rotate(10).at(2 * x - 1, Domain(-1, 1))
    assert torch.allclose(there.member(15), 2 * here.member(15) - 1, atol=1e-5)
    assert Shift(1).at(2 * x - 1, Domain(-1, 1)).member(1).amin() == -1  # black


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Rotate(200), "at most 180"),
        (lambda: Rotate(0.5), "no angle but 0"),
        (lambda: Rotate(10, step=0), "step"),
        (lambda: Rotate(10, shift=1.5), "whole number"),
        (lambda: Rotate(-3), ">= 0"),
        (lambda: Rotate(float("nan")), ">= 0"),
        (lambda: Shift(0.5), "whole number"),
        (lambda: Shift(99), "from 0 to 64"),
        (lambda: Rotate(10).at(torch.zeros(2, 9), UNIT), "shape"),
        (lambda: Shift(1).at(("a",), UNIT), "texts"),
        (lambda: Shift(1).at(torch.zeros(1, 1, 2, 2), Domain()), "bounded range"),
    ],
)
def test_refused(make, says):
    with pytest.raises(UsageError, match=says):
        make()
