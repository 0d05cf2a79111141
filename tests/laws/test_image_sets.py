"""What holds for every set of images: members land inside and stay in the range, rows can be taken apart, a row is the
same alone, sizes are nested and measured within, units don't matter, and what a certifier is told encloses."""

import pytest
import torch
from torch import nn

from robustly.core import keys
from robustly.threats import (
    Colour,
    Convex,
    Corrupt,
    Domain,
    Features,
    Flow,
    Patch,
    Rotate,
    Shift,
    Smooth,
    Ssim,
    with_eps,
)
from robustly.threats.enumerated import Enumerated

UNIT = Domain(0.0, 1.0)


def network(channels):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(channels, 6, 2), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.ReLU()).eval()


SETS = {
    "rotate": lambda c: Rotate(20, step=5),
    "rotate and shift": lambda c: Rotate(10, shift=1, step=5),
    "shift": lambda c: Shift(2),
    "corrupt": lambda c: Corrupt(2),
    "flow": lambda c: Flow(1.0),
    "flow half": lambda c: Flow(0.5),
    "colour": lambda c: Colour(6.0),
    "ssim": lambda c: Ssim(0.2),
    "features": lambda c: Features(0.1, network(c)),
    "patch": lambda c: Patch(2),
}
SMOOTH = [n for n in SETS if n.split()[0] in ("flow", "colour", "ssim", "features", "patch")]
SHAPES = [(1, 4, 4), (3, 5, 7), (3, 12, 12)]
COUNT = 6


def make(name, shape, domain=UNIT):
    x = torch.randint(0, 256, (COUNT, *shape), generator=torch.Generator().manual_seed(0)).float() / 255
    x[0], x[1] = 0.0, 1.0
    x = domain.low + (domain.high - domain.low) * x
    return SETS[name](shape[0]), x, keys.from_ids(0, [str(i) for i in range(COUNT)])


def points(around, key, scale=1.0):
    """Samples, and what projections make of points near and far."""
    out = [around.sample(keys.fold(key, i)) for i in range(8)]
    if isinstance(around, Smooth):
        g = torch.Generator().manual_seed(1)
        noise = torch.randn(around.x.shape, generator=g)
        out += [around.project(around.x + s * scale * noise) for s in (0.01, 0.3, 50.0)]
    if isinstance(around, Enumerated):
        out += [around.member(n) for n in range(0, around.count, 7)]
    return out


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    return request.param


@pytest.mark.parametrize("domain", [UNIT, Domain(0.0, 255.0), Domain(-1.0, 1.0)], ids=str)
@pytest.mark.parametrize("name", SETS)
def test_members_are_members_in_the_range(name, shape, domain):
    if name == "features" and domain is not UNIT:
        return  # its network reads other numbers
    threat, x, key = make(name, shape, domain)
    around = threat.at(x, domain)
    found = points(around, key, domain.high - domain.low)
    for z in found:
        assert z.dtype == torch.float32
        assert around.contains(z).all()
        assert ((z >= domain.low) & (z <= domain.high)).all()
        assert (around.distance(z) <= threat.eps * (1 + 1e-9)).all()
    assert max(float(around.distance(z).max()) for z in found) > 0.4 * threat.eps
    assert not torch.equal(found[0], found[1])
    assert around.contains(x).all()
    assert not around.distance(x).any()


@pytest.mark.parametrize("name", SETS)
def test_what_lies_outside_is_no_member(name, shape):
    threat, x, _ = make(name, shape)
    around = threat.at(x, UNIT)
    for z in (torch.full_like(x, float("nan")), x + 400, x - 0.5, torch.full_like(x, float("inf"))):
        assert not around.contains(z)[2:].any()
    assert not around.contains((1 - x).clamp(0, 1))[:2].any() or name.startswith(("flow", "features"))
    swapped = x.roll(1, 0)
    assert not around.contains(swapped)[3:].any()


@pytest.mark.parametrize("name", SETS)
def test_a_size_of_zero_leaves_the_input(name, shape):
    threat, x, key = make(name, shape)
    around = with_eps(threat, 0).at(x, UNIT)
    assert around.contains(x).all()
    if "shift" not in name or name == "shift":
        assert torch.equal(around.sample(key), x)
    if isinstance(around, Smooth):
        assert torch.equal(around.project(torch.rand_like(x)), x)
        assert torch.isfinite(around.steepest(torch.randn_like(x))).all()


@pytest.mark.parametrize("name", SETS)
def test_larger_sizes_hold_the_smaller(name, shape):
    threat, x, key = make(name, shape)
    less = 1 if threat.eps < 10 and name in ("corrupt", "shift") else threat.eps / 2
    small, large = (with_eps(threat, eps).at(x, UNIT) for eps in (less, threat.eps))
    for z in points(small, key):
        assert large.contains(z).all()
        assert (large.distance(z) <= small.distance(z) + 1e-9).all()
    for z in points(large, key):  # distance says from which size on a point is a member
        for size in (less, threat.eps):
            within = large.distance(z) <= size
            assert with_eps(threat, size).at(x, UNIT).contains(z)[within].all()


@pytest.mark.parametrize("name", SETS)
def test_rows_can_be_taken_and_stand_alone(name, shape):
    threat, x, key = make(name, shape)
    around, index = threat.at(x, UNIT), torch.tensor([4, 2])
    part, alone = around.take(index), threat.at(x[index], UNIT)
    z = around.sample(key)
    for some in (part, alone):
        assert torch.equal(some.sample(key[index]), z[index])
        assert torch.equal(some.contains(z[index]), around.contains(z)[index])
        assert torch.allclose(some.distance(z[index]), around.distance(z)[index], rtol=1e-9, atol=1e-12)
        if isinstance(around, Smooth):
            far = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
            assert torch.equal(some.project(far[index]), around.project(far)[index])
            assert torch.equal(some.steepest(far[index]), around.steepest(far)[index])
            assert torch.equal(some.radius, around.radius[index])
    assert len(part) == 2


@pytest.mark.parametrize("name", SMOOTH)
def test_a_member_projects_to_itself_and_steps_climb(name, shape):
    threat, x, key = make(name, shape)
    around = threat.at(x, UNIT)
    z, g = around.sample(key), torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    assert torch.equal(around.project(z), z)
    assert ((g * around.steepest(g)).flatten(1).sum(1)[2:] > 0).all()
    up = around.project(x + around.radius[:, None, None, None] * around.steepest(g))
    assert ((g * (up - x)).flatten(1).sum(1)[2:] > 0).all()


@pytest.mark.parametrize("name", [n for n in SETS if n.startswith("flow")])
def test_bounds_enclose_and_linear_maxima_are_maxima(name, shape):
    threat, x, key = make(name, shape)
    around = threat.at(x, UNIT)
    assert isinstance(around, Convex)
    g = torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    (low, high), best = around.box(), around.linear_max(g)
    assert around.contains(best).all()
    corner = torch.where(g > 0, high, low)
    assert around.contains(corner).all()
    for z in [*points(around, key), best, corner]:
        gain = (g.double() * z.double()).flatten(1).sum(1)
        assert ((z >= low) & (z <= high)).all()
        assert (gain <= around.support(g)).all()
        assert (gain <= (g * best).double().flatten(1).sum(1) + 1e-4).all()
