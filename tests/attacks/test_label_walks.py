"""The walks on labels alone: they find what is near, keep to their budget, and end under any bounds."""

import math
from dataclasses import replace

import pytest
import torch

from robustly.attacks.boundary import boundary
from robustly.attacks.hopskipjump import hopskipjump
from robustly.attacks.rays import rays
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle import Access, Model, Oracle
from robustly.steps import Case, in_turn
from robustly.threats import L1, L2, Domain, Grid, Linf

from .small import small

WALKS = [(hopskipjump, L2), (hopskipjump, Linf), (boundary, L2), (rays, Linf)]
NAMES = [f"{make.__name__} {norm.name}" for make, norm in WALKS]
every = pytest.mark.parametrize(("make", "norm"), WALKS, ids=NAMES)


def run(attack, threat, model, x, y, press_on=True):
    around = threat.at(x, model.domain)
    oracle = Oracle(model, around, Goal(y), press_on=press_on)
    attack(Case(around, Goal(y), keys.from_ids(0, [str(i) for i in range(len(x))]), oracle))
    return oracle.ledger


@every
@pytest.mark.parametrize("queries", [1, 2, 17, 130])
def test_no_row_asks_more_than_its_budget(make, norm, queries):
    problem = small(count=6).granting(Access.LABELS)
    ledger = problem.run(make(queries), norm(math.inf), press_on=True)
    assert (ledger.forward == queries).all()
    assert len(torch.cat(problem.asked)) == 6 * queries


@every
def test_more_queries_lead_nearer_than_the_start(make, norm):
    problem = small(count=8).granting(Access.LABELS)
    few, many = (problem.run(make(q), norm(math.inf), press_on=True).distance for q in (40, 600))
    assert torch.isfinite(many).all()
    assert (many <= few).all()
    assert (many / few).median() < 0.8


@every
def test_a_row_ends_at_its_first_point_within_eps(make, norm):
    problem = small(count=8).granting(Access.LABELS)
    least = problem.run(make(600), norm(math.inf), press_on=True)
    ledger = problem.run(make(600), norm(least.distance * 1.3))
    assert ledger.firm.all()
    assert (ledger.distance <= 1.3 * least.distance + 1e-6).all()
    assert ledger.forward.double().mean() < 500


@every
@pytest.mark.parametrize("what", ["constant", "flat range", "eps 0", "one number free", "all of it wrong"])
def test_they_end_under_any_bounds(make, norm, what):
    x, y = torch.full((3, 1, 4, 4), 0.5), torch.zeros(3, dtype=torch.int64)
    domain = Domain(0.5, 0.5) if what == "flat range" else Domain(0, 1)
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 1, 2] = True
    threat = norm(0.0 if what == "eps 0" else math.inf, mask if what == "one number free" else None)

    def call(z):
        rise = z.flatten(1)[:, 6] - 0.75 if what != "constant" else -torch.ones(len(z))
        return torch.stack((torch.zeros(len(z)), rise + (1 if what == "all of it wrong" else 0)), 1)

    ledger = run(make(150), threat, Model(call, domain, classes=2).granting(Access.LABELS), x, y)
    assert (ledger.forward <= 150).all()
    if what == "one number free":
        assert torch.allclose(ledger.distance, torch.tensor(0.25, dtype=torch.float64), rtol=0.02)
        assert ((ledger.point != x) <= mask).all()
    if what in ("constant", "flat range"):
        assert not ledger.hit.any()
    if what == "all of it wrong":
        assert (ledger.distance < 0.05).all()


@every
def test_a_mask_is_kept(make, norm):
    problem = small(count=8)
    mask = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0)) < 0.6
    ledger = problem.run(make(400), norm(math.inf, mask), press_on=True)
    points = torch.cat(problem.asked)
    owner = (points[:, None] == problem.x[None])[..., ~mask[0]].flatten(2).all(2).any(1)
    assert owner.all()
    assert ledger.hit.any()


@every
def test_it_goes_on_where_another_ended(make, norm):
    """The evidence of the ledger is where the walk begins: no point of it is further away than that one."""
    problem = small(count=6).granting(Access.LABELS)
    before = problem.run(make(300), norm(math.inf), press_on=True)
    given = before.point.clone()

    def told(case):
        case.oracle.labels(given)

    ledger = problem.run(in_turn(told, make(60)), norm(math.inf), press_on=True)
    assert (ledger.distance <= before.distance).all()
    assert (ledger.forward == 61).all()
    fresh = problem.run(make(61), norm(math.inf), press_on=True)
    assert (ledger.distance < fresh.distance).all()


@pytest.mark.parametrize("make", [hopskipjump, boundary])
def test_other_examples_are_a_start_where_noise_is_none(make):
    """Only inputs whose every number is above 0.9 are read as 1: noise never is."""
    x, y = torch.rand(4, 30, generator=torch.Generator().manual_seed(1)) / 2, torch.zeros(4, dtype=torch.int64)
    model = Model(lambda z: torch.stack((torch.zeros(len(z)), z.amin(1) - 0.9), 1), Domain(0, 1), classes=2)
    pool = torch.cat((x, torch.full((2, 30), 0.97)))
    model = model.granting(Access.LABELS)
    assert not run(make(100, tries=20), L2(math.inf), model, x, y).hit.any()
    ledger = run(make(100, tries=20, pool=pool), L2(math.inf), model, x, y)
    assert ledger.hit.all()
    assert len(str(make(100, pool=pool).spec)) < 200


@every
def test_what_they_cannot_walk_in_is_refused(make, norm):
    problem = small(count=2)
    for threat in (L1(math.inf), Grid(norm(8 / 255))):
        with pytest.raises(UsageError, match=r"works in norm balls|not on the 8-bit grid"):
            problem.run(make(5), threat)
    unbounded = replace(problem, model=replace(problem.model, domain=Domain()))
    with pytest.raises(UsageError, match="bounded input range"):
        unbounded.run(make(5), norm(math.inf))
    with pytest.raises(UsageError, match="queries must be at least 1"):
        make(0)


def test_arguments_are_refused():
    for make in (hopskipjump, boundary):
        with pytest.raises(UsageError, match="tries must be at least 1"):
            make(5, tries=0)
    with pytest.raises(UsageError, match="gamma"):
        hopskipjump(5, gamma=0.0)
    with pytest.raises(UsageError, match="directions"):
        hopskipjump(5, directions=0)
    with pytest.raises(UsageError, match="aside"):
        boundary(5, aside=0.0)


def test_boundary_keeps_about_half_of_the_steps_aside():
    """The border of a ball around the input is met by half of the steps along the sphere, whatever their size; that of a
    far one, seen from a narrow cone, by few, so that the steps become short."""
    x = torch.full((1, 40), 0.5)

    def cone(z):
        change = z - 0.5
        return torch.stack((torch.zeros(len(z)), change[:, 0] - 0.95 * change.norm(dim=1)), 1)

    asked = []

    def call(z):
        asked.append(z.clone())
        return cone(z)

    model = Model(call, Domain(0, 1), classes=2).granting(Access.LABELS)
    start = torch.full((1, 40), 0.5).index_fill(1, torch.tensor([0]), 0.9)
    around = L2(math.inf).at(x, model.domain)
    oracle = Oracle(model, around, Goal(torch.zeros(1, dtype=torch.int64)), press_on=True)
    oracle.labels(start)
    boundary(400)(Case(around, oracle.goal, keys.from_ids(0, ["0"]), oracle))
    aside = torch.cat(asked)[10::5][-40:]
    met = cone(aside)[:, 1] > 0
    assert 0.2 < met.float().mean() < 0.8


def test_rays_asks_corners_until_one_meets_the_goal():
    """Its first rays are all signs turned, then one half, as in the paper; the points are corners of the domain."""
    x = torch.full((1, 8), 0.25)
    asked = []

    def call(z):
        asked.append(z.clone())
        return torch.stack((torch.zeros(len(z)), -torch.ones(len(z))), 1)

    run(rays(4), Linf(math.inf), Model(call, Domain(0, 1), classes=2), x, torch.zeros(1, dtype=torch.int64))
    wanted = [[0] * 8, [0] * 4 + [1] * 4, [1] * 4 + [0] * 4, [0] * 2 + [1] * 6]
    assert torch.equal(torch.cat(asked), torch.tensor(wanted).float())


def test_rays_asks_no_point_twice_and_ends_where_only_the_same_points_are_left():
    asked = []

    def call(z):
        asked.append(z.clone())
        return torch.stack((torch.zeros(len(z)), -torch.ones(len(z))), 1)

    run(
        rays(500),
        Linf(math.inf),
        Model(call, Domain(0, 1), classes=2),
        torch.full((1, 8), 0.25),
        torch.zeros(1, dtype=torch.int64),
    )
    points = torch.cat(asked)
    assert len(points) == 1 + 2 + 4 + 8
    assert len(points.unique(dim=0)) == len(points)


def plain_rays(meets, x, queries):
    """RayS for one input in [0, 1], as algorithms 1 to 3 of the paper and its authors' tolerance have it, one ray after
    the other: the radius in linf, inf where none was found."""
    way, best, asked, count = torch.ones(len(x)), math.inf, 0, len(x)
    level = block = 0
    while asked < queries:
        size = math.ceil(count / 2**level)
        start, end = block * size, min(count, (block + 1) * size)
        ray = torch.cat((way[:start], -way[start:end], way[end:]))
        asked += 1
        if meets((x + best * ray).clamp(0, 1)):
            low, high = 0.0, min(best, 1.0)
            while high - low > 1e-3 / math.sqrt(count) and asked < queries:
                middle, asked = (low + high) / 2, asked + 1
                low, high = (low, middle) if meets((x + middle * ray).clamp(0, 1)) else (middle, high)
            if high < best and high - low <= 1e-3 / math.sqrt(count):
                way, best = ray, high
        block += 1
        if block == 2**level or end == count:
            level, block = level + 1, 0
    return best


@pytest.mark.parametrize("queries", [30, 100, 400])
def test_rays_is_the_plain_search_of_the_paper(queries):
    problem = small((13,), 5)
    ledger = problem.run(rays(queries), Linf(math.inf), press_on=True)
    for i, (x, label) in enumerate(zip(problem.x, problem.y, strict=True)):
        wanted = plain_rays(lambda z, label=label: problem.model.ask(z[None]).argmax(1)[0] != label, x, queries)
        if math.isfinite(wanted):  # the ledger has the last bisection too, where the budget ended in it
            assert ledger.distance[i] <= wanted * (1 + 1e-5)
            assert ledger.distance[i] > 0.9 * wanted or queries < 400
