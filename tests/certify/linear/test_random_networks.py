"""No member of a set ever leaves a bound: random networks of every kind, random members, corners, an attack."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.certify.linear.networks import CLASSES, KINDS, SIDE, network

from robustly.attacks.pgd import pgd
from robustly.certify.crown import alpha_crown, crown, crown_ibp
from robustly.certify.linear.bounds import Specs, bounds
from robustly.certify.linear.crown import crown as ranges
from robustly.certify.linear.enclosure import enclose
from robustly.certify.linear.forward import forward
from robustly.certify.linear.lowering.lower import lower
from robustly.certify.linear.region import Region
from robustly.certify.linear.slopes import optimise
from robustly.core import keys
from robustly.goals import Goal
from robustly.losses import margin
from robustly.oracle import Model, Oracle
from robustly.steps import Case
from robustly.threats import L0, L1, L2, Domain, Linf, Patch
from robustly.threats.patch import PatchSet

DOMAIN, SHAPE = Domain(0, 1), (2, SIDE, SIDE)
THREATS = [
    Linf(0.0),
    Linf(1e-4),
    Linf(0.02),
    Linf(0.2),
    L2(1e-3),
    L2(0.3),
    L1(0.1),
    L1(2.0),
    L0(1),
    L0(3),
    Patch(1),
    Patch(2),
]


def members(around, count, seed):
    """Random members and corners of the first row's set, (count, ...)."""
    many = around.take(torch.zeros(count, dtype=torch.int64))
    key = keys.from_ids(seed, [str(i) for i in range(count)])
    inner = many.sample(key)
    drawn = keys.normal(keys.fold(key, 1), inner.shape[1:])
    # the range, one side of it or the other, in the square of the sample; a patch has no linear_max
    corner = torch.where(inner != many.x, (drawn > 0).float(), many.x) if painted(many) else many.linear_max(drawn)
    return torch.cat((inner[: count // 2], corner[count // 2 :]))


def painted(around):
    return isinstance(around, PatchSet)


def specs(rows):
    eye = torch.eye(CLASSES, dtype=torch.float64)
    weights = torch.cat((eye, -eye, eye[:1] - eye[1:]))
    return Specs(weights.expand(rows, *weights.shape), torch.zeros(rows, len(weights), dtype=torch.float64))


def values(net, z, wanted):
    return net(z).double() @ wanted.weights[0].T


@given(
    kind=st.sampled_from(list(KINDS)),
    seed=st.integers(0, 10**6),
    threat=st.sampled_from(THREATS),
    scale=st.sampled_from([0.5, 1.0, 5.0]),
)
@settings(max_examples=25, deadline=None)
def test_no_member_leaves_a_bound_or_a_range(kind, seed, threat, scale):
    net = network(kind, seed, scale)
    x = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(seed))
    around = threat.at(x, DOMAIN)
    program, region, wanted = lower(net, SHAPE), Region.of(around), specs(2)
    z = members(around.take(torch.tensor([0])), 200, seed)
    seen = torch.cat([values(net, some, wanted) for some in (z[:100], z[100:101], z[101:])])
    inner = program.values(z.double())
    with torch.no_grad():
        narrow = ranges(program, region)
        for enclosure in (enclose(program, region), forward(program, region), narrow):
            found, line = bounds(program, region, enclosure, wanted)
            assert (seen >= found[0]).all()
            low = torch.einsum("sn,zn->zs", line.slope[0].flatten(1), z.double().flatten(1)) + line.offset[0]
            assert not (seen < low).any()
            for number, box in enclosure.boxes.items():
                slack = 1e-12 + enclosure.rounding.get(number, torch.zeros(1))[0]
                assert not (inner[number] < box.low[0] - slack).any()
                assert not (inner[number] > box.high[0] + slack).any()
        tuned = optimise(program, region, narrow, wanted, 4)
        assert (seen >= tuned.lower[0]).all()
        assert (tuned.lower >= found).all()
    if scale == 1.0 and kind != "quotient":
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_hundred_thousand_members_stay_inside(kind):
    net = network(kind, 6 + list(KINDS).index(kind))  # each with an activation of its own
    around = Linf(0.03).at(torch.full((1, *SHAPE), 0.5), DOMAIN)
    program, region, wanted = lower(net, SHAPE), Region.of(around), specs(1)
    with torch.no_grad():
        found, _ = bounds(program, region, ranges(program, region), wanted)
    low, high = region.low.float(), region.high.float()
    generator = torch.Generator().manual_seed(1)
    for part in range(20):
        at = torch.rand(5000, *SHAPE, generator=generator)
        at = at.round() if part % 2 else at
        seen = values(net, low + (high - low) * at, wanted)
        assert (seen >= found).all()
    assert (seen.amin(0) - found[0] < 2.0).all()  # and the bound is about them


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_hundred_thousand_members_of_other_sets_stay_inside(kind):
    """Balls, patches, and boxes with a width of its own for every input, some of them none."""
    net, x = network(kind, list(KINDS).index(kind)), torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(2))
    wanted = specs(1)
    for number, threat in enumerate((L2(0.3), L1(0.5), L0(2), Patch(2))):
        around = threat.at(x, DOMAIN)
        program, region = lower(net, SHAPE), Region.of(around)
        with torch.no_grad():
            found, _ = bounds(program, region, ranges(program, region), wanted)
            for part in range(4):
                seen = values(net, members(around, 5000, 10 * number + part), wanted)
                assert (seen >= found[0]).all()
    generator = torch.Generator().manual_seed(3)
    low = torch.rand(1, *SHAPE, generator=generator) - 0.5
    high = low + (torch.rand(1, *SHAPE, generator=generator) - 0.3).clamp_min(0)
    region = Region(low.double(), high.double())
    with torch.no_grad():
        for enclosure in (enclose(program, region), ranges(program, region)):
            found, _ = bounds(program, region, enclosure, wanted)
        for part in range(4):
            at = torch.rand(5000, *SHAPE, generator=generator)
            seen = values(net, torch.lerp(low, high, at.round() if part % 2 else at).clamp(low, high), wanted)
            assert (seen >= found[0]).all()


@given(
    kind=st.sampled_from(list(KINDS)),
    seed=st.integers(0, 10**6),
    threat=st.sampled_from(THREATS),
    targeted=st.booleans(),
)
@settings(max_examples=10, deadline=None)
def test_an_attack_finds_nothing_below_a_bound(kind, seed, threat, targeted):
    net = network(kind, seed)
    x = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(seed))
    model, goal = Model(call=net, module=net, domain=DOMAIN), Goal(net(x).argmax(1))
    goal = goal.toward((goal.y + 1) % CLASSES) if targeted else goal
    around = threat.at(x, DOMAIN)
    oracle = Oracle(model, around, goal, press_on=True)
    pgd(10, 0.25, margin)(Case(around, goal, keys.from_ids(seed, ["a", "b", "c"]), oracle))
    before = None
    for certifier in (crown_ibp(), crown(), alpha_crown(3)):
        found = certifier(model, around, goal)
        assert (oracle.ledger.best_margin >= found.lower).all()
        assert not (oracle.ledger.hit & found.certified).any()
        assert before is None or (found.lower >= before - 1e-6 * before.abs()).all()
        before = found.lower
