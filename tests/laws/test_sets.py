"""What holds for every perturbation set: projections and samples land inside, nothing sampled is nearer than the
projection, support and box enclose, and rows can be taken apart."""

import pytest
import torch

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.threats import L0, L1, L2, Both, Convex, Domain, Grid, Linf

UNIT = Domain(0.0, 1.0)
FREE = Domain()
MASK = torch.tensor([True, False, True, True])

SETS = {
    "linf": (Linf(0.1), UNIT),
    "linf free": (Linf(0.3), FREE),
    "linf wide": (Linf(2.0), UNIT),
    "linf none": (Linf(0.0), UNIT),
    "linf mask": (Linf(0.2, MASK), UNIT),
    "linf range 255": (Linf(8.0), Domain(0.0, 255.0)),
    "l2": (L2(0.5), UNIT),
    "l2 free": (L2(0.5), FREE),
    "l2 small": (L2(0.001), UNIT),
    "l2 wide": (L2(100.0), UNIT),
    "l2 mask": (L2(0.5, MASK), UNIT),
    "l2 none": (L2(0.0), UNIT),
    "l1": (L1(1.5), UNIT),
    "l1 free": (L1(1.5), FREE),
    "l1 wide": (L1(1000.0), UNIT),
    "l1 mask": (L1(0.5, MASK), UNIT),
    "l0": (L0(3), UNIT),
    "l0 mask": (L0(2, MASK), UNIT),
    "l0 none": (L0(0), UNIT),
    "linf and l2": (Both(Linf(0.1), L2(0.3)), UNIT),
    "l2 and l1": (Both(L2(0.4), L1(0.8)), UNIT),
    "linf 8 bit": (Grid(Linf(8 / 255)), UNIT),
    "linf 4 bit": (Grid(Linf(0.2), 4), UNIT),
    "l2 8 bit": (Grid(L2(0.5)), UNIT),
}
EXACT = [n for n in SETS if "bit" not in n]
SHAPES = [(4,), (3, 2, 4), (1, 6, 4)]


def make(name, shape, count=6, seed=0):
    threat, domain = SETS[name]
    g = torch.Generator().manual_seed(seed)
    levels = 15 if "4 bit" in name else 255
    x = torch.randint(0, levels + 1, (count, *shape), generator=g).float() / levels
    x[0], x[1] = 0.0, 1.0  # corners of the domain
    if domain.high == 255.0:
        x = x * 255
    key = keys.from_ids(seed, [str(i) for i in range(count)])
    return threat.at(x, domain), key, g


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    return request.param


def samples(around, key, count=40):
    return [around.sample(keys.fold(key, i)) for i in range(count)]


@pytest.mark.parametrize("name", SETS)
def test_samples_are_members_and_differ(name, shape):
    around, key, _ = make(name, shape)
    drawn = samples(around, key)
    assert all(around.contains(z).all() for z in drawn)
    if "none" not in name:
        assert not torch.equal(drawn[0], drawn[1])
        assert max(float(around.distance(z).max()) for z in drawn) > 0


@pytest.mark.parametrize("name", SETS)
def test_projections_are_members(name, shape):
    around, _, g = make(name, shape)
    for scale in (0.01, 1.0, 300.0):
        z = around.x + scale * torch.randn(around.x.shape, generator=g)
        assert around.contains(around.project(z)).all()
    assert torch.equal(around.project(around.x), around.x)


@pytest.mark.parametrize("name", EXACT)
def test_no_sampled_member_is_nearer_than_the_projection(name, shape):
    around, key, g = make(name, shape)
    for scale in (0.05, 0.5, 3.0):
        z = around.x + scale * torch.randn(around.x.shape, generator=g)
        p = around.project(z)
        own = (p - z).flatten(1).norm(dim=1)
        for member in samples(around, key):
            for t in (1.0, 0.5, 0.1):  # members near the projection test harder than members anywhere
                near = p + t * (member - p) if not name.startswith("l0") else member
                if around.contains(near).all():
                    assert (own <= (near - z).flatten(1).norm(dim=1) * (1 + 1e-4) + 1e-5).all()


@pytest.mark.parametrize("name", EXACT)
def test_the_linear_maximum_is_a_member_and_a_maximum(name, shape):
    around, key, g = make(name, shape)
    w = torch.randn(around.x.shape, generator=g)
    if name == "l2 and l1":  # no closed form; its support is the smaller of the two, tested below
        with pytest.raises(UsageError, match="no closed form"):
            around.linear_max(w)
        return
    if SETS[name][1] is FREE and name.startswith("l0"):
        return
    top = around.linear_max(w)
    assert around.contains(top).all()
    best = (w * top).flatten(1).sum(1)
    for member in [*samples(around, key), around.project(around.x + 50 * w)]:
        assert (best >= (w * member).flatten(1).sum(1) - 1e-3 * best.abs().clamp_min(1e-2)).all()


@pytest.mark.parametrize("name", EXACT)
def test_support_and_box_enclose(name, shape):
    """Without any tolerance, also for members on the very boundary that no float32 projection reaches."""
    around, key, g = make(name, shape)
    assert isinstance(around, Convex)
    low, high = around.box()
    w = torch.randn(around.x.shape, generator=g)
    bound = around.support(w)
    steep = around.steepest(w).double() if "none" not in name else w.double()
    boundary = [
        around.x.double() + t * around.radius.double().reshape(-1, *(1,) * len(shape)) * steep for t in (0.999999, 1.0)
    ]
    corner = torch.where(w > 0, high, torch.where(w < 0, low, around.x.double()))
    members = [*samples(around, key), around.project(around.x + 50 * w), *boundary, corner]
    for member in members:
        inside = around.contains(member)
        assert ((member >= low) & (member <= high)).flatten(1).all(1)[inside].all()
        assert ((w.double() * member.double()).flatten(1).sum(1) <= bound)[inside].all()


def test_support_is_tight():
    x = torch.full((2, 3), 0.5)
    w = torch.tensor([[1.0, -2.0, 2.0]]).expand(2, -1)
    for threat, gain in ((Linf(0.1), 0.5), (L2(0.1), 0.3), (L1(0.1), 0.2)):
        assert torch.allclose(threat.at(x, UNIT).support(w), torch.tensor(0.5 + gain).double(), rtol=1e-4)


@pytest.mark.parametrize("name", SETS)
def test_rows_can_be_taken(name, shape):
    around, key, g = make(name, shape)
    index = torch.tensor([4, 2])
    part = around.take(index)
    z = around.x + 0.3 * torch.randn(around.x.shape, generator=g)
    assert torch.equal(part.project(z[index]), around.project(z)[index])
    assert torch.equal(part.sample(key[index]), around.sample(key)[index])
    assert torch.equal(part.contains(z[index]), around.contains(z)[index])
    assert torch.equal(part.steepest(z[index]), around.steepest(z)[index])


@pytest.mark.parametrize("name", SETS)
def test_what_lies_outside_is_no_member(name, shape):
    around, _, _ = make(name, shape)
    assert not around.contains(torch.full_like(around.x, float("nan"))).any()
    if "wide" in name:
        return
    far = around.x + 400.0
    assert not around.contains(far).any()
    step = around.project(far) - around.x
    if name not in ("l0", "l0 mask", "l0 none", "linf none", "l2 none"):
        beyond = around.x + 1.01 * step
        moved = step.flatten(1).abs().amax(1) > 0
        assert not around.contains(beyond)[moved].any()


def test_per_example_eps():
    x = torch.full((3, 5), 0.5)
    eps = torch.tensor([0.0, 0.1, 0.2], dtype=torch.float64)
    for threat in (Linf(eps), L2(eps), L1(eps)):
        around = threat.at(x, UNIT)
        moved = around.distance(around.project(x + 10))
        assert torch.allclose(moved, eps, rtol=1e-4)
        assert torch.equal(around.radius, eps.float())


def test_an_infinite_radius_leaves_the_domain():
    x = torch.rand(4, 6)
    for threat in (Linf(float("inf")), L2(float("inf")), L1(float("inf")), L0(float("inf"))):
        around = threat.at(x, UNIT)
        assert around.contains(1 - x).all()
        assert torch.equal(around.project(1 - x), 1 - x)
        assert not around.contains(x + 2).any()
