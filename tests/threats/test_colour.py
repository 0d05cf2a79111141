"""CIEDE2000 against the published pairs, sRGB against known colours, and the set against a search of its edge."""

import pytest
import torch

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.threats import Colour, Domain
from robustly.threats.ciede import ciede2000, to_lab

UNIT = Domain(0.0, 1.0)

# Sharma, Wu & Dalal 2005, "The CIEDE2000 color-difference formula: implementation notes, supplementary test data, and
# mathematical observations", Color Research and Application 30(1), table 1: two colours in Lab, and their difference.
PAIRS = """
50 2.6772 -79.7751   50 0 -82.7485        2.0425
50 3.1571 -77.2803   50 0 -82.7485        2.8615
50 2.8361 -74.0200   50 0 -82.7485        3.4412
50 -1.3802 -84.2814  50 0 -82.7485        1.0000
50 -1.1848 -84.8006  50 0 -82.7485        1.0000
50 -0.9009 -85.5211  50 0 -82.7485        1.0000
50 0 0               50 -1 2              2.3669
50 -1 2              50 0 0               2.3669
50 2.4900 -0.0010    50 -2.4900 0.0009    7.1792
50 2.4900 -0.0010    50 -2.4900 0.0010    7.1792
50 2.4900 -0.0010    50 -2.4900 0.0011    7.2195
50 2.4900 -0.0010    50 -2.4900 0.0012    7.2195
50 -0.0010 2.4900    50 0.0009 -2.4900    4.8045
50 -0.0010 2.4900    50 0.0010 -2.4900    4.8045
50 -0.0010 2.4900    50 0.0011 -2.4900    4.7461
50 2.5 0             50 0 -2.5            4.3065
50 2.5 0             73 25 -18            27.1492
50 2.5 0             61 -5 29             22.8977
50 2.5 0             56 -27 -3            31.9030
50 2.5 0             58 24 15             19.4535
50 2.5 0             50 3.1736 0.5854     1.0000
50 2.5 0             50 3.2972 0          1.0000
50 2.5 0             50 1.8634 0.5757     1.0000
50 2.5 0             50 3.2592 0.3350     1.0000
60.2574 -34.0099 36.2677  60.4626 -34.1751 39.4387  1.2644
63.0109 -31.0961 -5.8663  62.8187 -29.7946 -4.0864  1.2630
61.2901 3.7196 -5.3901    61.4292 2.2480 -4.9620    1.8731
35.0831 -44.1164 3.7933   35.0232 -40.0716 1.5901   1.8645
22.7233 20.0904 -46.6940  23.0331 14.9730 -42.5619  2.0373
36.4612 47.8580 18.3852   36.2715 50.5065 21.2231   1.4146
90.8027 -2.0831 1.4410    91.1528 -1.6435 0.0447    1.4441
90.9257 -0.5406 -0.9208   88.6381 -0.8985 -0.7239   1.5381
6.7747 -0.2908 -2.4247    5.8714 -0.0985 -2.2286    0.6377
2.0776 0.0795 -1.1350     0.9033 -0.0636 -0.5514    0.9082
"""
TABLE = torch.tensor([[float(n) for n in line.split()] for line in PAIRS.strip().splitlines()], dtype=torch.float64)


def test_the_published_pairs_to_every_digit():
    found = ciede2000(TABLE[:, :3], TABLE[:, 3:6])
    assert (found - TABLE[:, 6]).abs().max() < 5.1e-5
    assert torch.allclose(ciede2000(TABLE[:, 3:6], TABLE[:, :3]), found)


@pytest.mark.parametrize(
    ("rgb", "lab"),  # of the primaries of sRGB under D65, as any colour table lists them
    [
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((0.5, 0.5, 0.5), (53.39, 0, 0)),
    ],
)
def test_known_colours(rgb, lab):
    found = to_lab(torch.tensor([rgb], dtype=torch.float64))[0]
    assert torch.allclose(found, torch.tensor(lab, dtype=torch.float64), atol=0.02)


def test_the_projection_reaches_the_edge_of_every_pixel_and_no_further():
    g = torch.Generator().manual_seed(0)
    x = 0.2 + 0.6 * torch.rand(3, 3, 5, 5, generator=g)
    around = Colour(4).at(x, UNIT)
    found = around.project(x + 0.5 * torch.randn(x.shape, generator=g))
    seen = around.measure(found)
    assert around.contains(found).all()
    assert ((seen > 3.9) & (seen <= 4)).float().mean() > 0.9
    assert not around.contains(x + 1.01 * (found - x)).any()


def test_one_pixel_alone_decides():
    x = torch.full((2, 3, 4, 4), 0.5)
    z = x.clone()
    z[0, :, 2, 3] = torch.tensor([0.5, 0.6, 0.5])
    around = Colour(3).at(x, UNIT)
    expected = ciede2000(to_lab(x[:1, :, 2, 3].double()), to_lab(z[:1, :, 2, 3].double()))
    assert around.distance(z).tolist() == [float(expected), 0.0]
    assert around.contains(z).tolist() == [False, True]


def test_green_is_seen_before_blue():
    x = torch.full((2, 3, 1, 1), 0.5)
    z = x.clone()
    z[0, 1], z[1, 2] = 0.55, 0.55
    green, blue = Colour(1).at(x, UNIT).distance(z)
    assert green > blue > 1


def test_grey_images_and_other_ranges():
    x = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    z = (x + 0.1).clamp(0, 1)
    grey = Colour(3).at(x, UNIT).distance(z)
    colour = Colour(3).at(x.expand(-1, 3, -1, -1), UNIT).distance(z.expand(-1, 3, -1, -1))
    bytes_ = Colour(3).at(255 * x, Domain(0, 255)).distance(255 * z)
    assert torch.equal(grey, colour)
    assert torch.allclose(bytes_, grey, rtol=1e-5)


def test_what_has_no_colour_is_refused():
    for x, domain, says in (
        (torch.zeros(2, 2, 4, 4), UNIT, "grey or sRGB"),
        (torch.zeros(2, 4), UNIT, "shape"),
        (torch.zeros(2, 3, 4, 4), Domain(), "bounded range"),
        (("text",), UNIT, "texts"),
        (torch.full((1, 3, 2, 2), 2.0), UNIT, "outside the declared range"),
    ):
        with pytest.raises(UsageError, match=says):
            Colour(3).at(x, domain)
    for eps in (-1, float("nan"), float("inf"), "x"):
        with pytest.raises(UsageError, match="eps of colour"):
            Colour(eps)


def test_samples_spread():
    x = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    around = Colour(6).at(x, UNIT)
    far = [around.distance(around.sample(keys.from_ids(s, list("abcd")))) for s in range(8)]
    assert torch.stack(far).max() > 5
    assert torch.stack(far).min() < 3
