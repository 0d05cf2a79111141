"""Each nonlinear rule pointwise: planes and ranges enclose the function over boxes of every size and place, and are tight."""

import pytest
import torch

from robustly.certify.linear import curves, smooth
from robustly.certify.linear.product import PRODUCT
from robustly.certify.linear.relu import MAXIMUM, RELU
from robustly.certify.linear.rules import Box, widened

CURVES = {name: c for name, c in vars(curves).items() if isinstance(c, smooth.Curve)}
COUNT = 4000


def boxes(seed, domain=(-float("inf"), float("inf"))):
    """Boxes (1, COUNT) around places from 0.01 to 16, of widths from 1e-7 to 30, some of them points."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.randn(1, COUNT, generator=generator).double() * 10 ** (
        3.2 * torch.rand(1, COUNT, generator=generator) - 2
    )
    width = 10 ** (8.5 * torch.rand(1, COUNT, generator=generator).double() - 7)
    width[:, ::50] = 0
    if domain[0] == 0:
        return Box(place.abs() + 1e-3, place.abs() + 1e-3 + 10 * width)
    return Box(place - width, place + width)


def points(box, seed, count=60):
    """Values (count, 1, COUNT) in the box, its ends among them."""
    at = torch.rand(count, *box.low.shape, generator=torch.Generator().manual_seed(seed)).double()
    at[0], at[1] = 0, 1
    return (box.low + (box.high - box.low) * at).clamp(box.low, box.high)


def held(rule, sources, seen, choice=None):
    """The least gaps of planes and range over points `seen`, one a source."""
    planes = widened(rule.planes(sources, choice), sources)
    value, found = rule.value(*seen), rule.range(sources)
    low = planes.low_offset[:, 0] + sum(s[:, 0] * v for s, v in zip(planes.low, seen, strict=True))
    high = planes.high_offset[:, 0] + sum(s[:, 0] * v for s, v in zip(planes.high, seen, strict=True))
    assert torch.isfinite(low).all()
    assert torch.isfinite(high).all()
    assert (low <= value).all()
    assert (value <= high).all()
    assert (found.low <= value).all()
    assert (value <= found.high).all()
    return value - low, high - value


@pytest.mark.parametrize("name", list(CURVES))
def test_lines_enclose_a_curve_and_touch_it(name):
    curve = CURVES[name]
    box = boxes(1, curve.domain)
    below, above = held(smooth.rule(curve), (box,), (points(box, 2),))
    height = (curve.value(points(box, 3)).amax(0) - curve.value(points(box, 3)).amin(0)) + 1e-9 * (1 + box.size)
    assert ((below.amin(0) / height) < 0.1).float().mean() > 0.97  # both lines come near it somewhere
    assert ((above.amin(0) / height) < 0.1).float().mean() > 0.97


@pytest.mark.parametrize("name", list(CURVES))
def test_the_derivative_and_the_bends_of_a_curve_are_right(name):
    curve = CURVES[name]
    x = torch.linspace(0.05 if curve.domain[0] == 0 else -6, 6, 500, dtype=torch.float64)
    slope = (curve.value(x + 1e-6) - curve.value(x - 1e-6)) / 2e-6
    assert torch.allclose(slope, curve.slope(x), rtol=1e-6, atol=1e-7)
    bend = curve.slope(x[1:]) - curve.slope(x[:-1])
    for place, (a, b) in enumerate(zip((-torch.inf, *curve.bends), (*curve.bends, torch.inf), strict=True)):
        inside = bend[(x[:-1] >= a) & (x[1:] <= b)]
        sign = 1 if curve.convex == (place % 2 == 0) else -1
        assert (sign * inside >= -1e-9).all()


@pytest.mark.parametrize("name", ["RECIPROCAL", "ROOT"])
def test_outside_its_domain_nothing_is_known_of_a_curve(name):
    box = Box(torch.tensor([[-1.0, 0.0]]).double(), torch.tensor([[1.0, 1.0]]).double())
    planes = smooth.rule(CURVES[name]).planes((box,), None)
    assert torch.isnan(planes.low_offset).all()
    assert torch.isnan(smooth.rule(CURVES[name]).range((box,)).low).all()


@pytest.mark.parametrize("choice", [None, 0.0, 0.3, 1.0])
def test_any_choice_of_planes_encloses_relu_and_products_and_maxima(choice):
    x, y = boxes(4), boxes(5)
    given = None if choice is None else torch.full((1, 1, COUNT), choice, dtype=torch.float64)
    a, b = points(x, 6), points(y, 7)
    held(RELU, (x,), (a,), given)
    below, above = held(PRODUCT, (x, y), (a, b), given)
    difference = Box(x.low - y.high, x.high - y.low)
    held(MAXIMUM, (x, y, difference), (a, b, a - b), given)
    if choice in (0.0, 1.0):  # the planes of McCormick touch the product in corners
        area = (x.high - x.low) * (y.high - y.low)
        assert (below.amin(0) <= area + 1e-6).all()
        assert (above.amin(0) <= area + 1e-6).all()


def test_the_lines_of_relu_are_those_of_the_paper():
    box = Box(torch.tensor([[-1.0, -3.0, 1.0, -2.0]]).double(), torch.tensor([[3.0, 1.0, 2.0, -1.0]]).double())
    planes = RELU.planes((box,), None)
    assert planes.low[0].flatten().tolist() == [1, 0, 1, 0]
    assert planes.high[0].flatten().tolist() == [0.75, 0.25, 1, 0]
    assert planes.high_offset.flatten().tolist() == pytest.approx([0.75, 0.75, 0, 0], abs=1e-8)


@pytest.mark.parametrize("choice", [0.0, 0.1, 0.25, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("name", list(CURVES))
def test_any_choice_of_lines_encloses_a_curve(name, choice):
    curve = CURVES[name]
    box = boxes(8, curve.domain)
    given = torch.full((1, 3, COUNT), choice, dtype=torch.float64)
    given[:, 1] = 1 - choice
    rule = smooth.rule(curve)
    held(rule, (box,), (points(box, 9),), given)
    own, chosen = rule.planes((box,), None), rule.planes((box,), torch.full((1, 1, COUNT), 0.5, dtype=torch.float64))
    for a, b in zip(
        (*own.low, own.low_offset, *own.high, own.high_offset),
        (*chosen.low, chosen.low_offset, *chosen.high, chosen.high_offset),
        strict=True,
    ):
        assert torch.equal(a, b)  # the middle is CROWN's own


@pytest.mark.parametrize("name", ["SIGMOID", "TANH", "GELU", "SILU"])
def test_a_choice_goes_from_the_hull_at_one_end_to_that_at_the_other(name):
    curve = CURVES[name]
    box = Box(torch.tensor([[-2.0, 0.3, -1.0]]).double(), torch.tensor([[1.5, 2.0, -0.2]]).double())
    rule = smooth.rule(curve)
    for choice, place in ((0.0, box.low), (1.0, box.high)):
        planes = rule.planes((box,), torch.full((1, 1, 3), choice, dtype=torch.float64))
        below = planes.low[0][:, 0] * place + planes.low_offset[:, 0]
        above = planes.high[0][:, 0] * place + planes.high_offset[:, 0]
        reach = curve.value(box.high) - curve.value(box.low)
        assert (curve.value(place) - below).abs().amax() < 0.05 * reach.abs().amax()
        assert (curve.value(place) - above).abs().amax() < 0.05 * reach.abs().amax()
