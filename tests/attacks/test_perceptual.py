"""Attacks on what is seen: a flow that is smooth, the least visible colour, steps measured by a network's features."""

import math

import pytest
import torch
from torch import nn

from robustly import Colour, Features, Flow, Linf
from robustly.attacks.lpa import lpa
from robustly.attacks.perc_cw import colour_slope, perc_cw
from robustly.attacks.ppgd import ahead, ppgd
from robustly.attacks.stadv import stadv
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle import Model, Oracle
from robustly.steps import Case
from robustly.steps.bilinear import moved, roughness
from robustly.steps.perceived import away, pulled_back, pushed, seen
from robustly.threats import Domain

UNIT = Domain(0.0, 1.0)


def run(attack, threat, x, margin, press_on=True):
    """The ledger of an attack on two scores, `margin` (B,) of the first and 0."""
    model = Model(lambda z: torch.stack((margin(z), torch.zeros(len(z))), 1), UNIT)
    around, goal = threat.at(x, UNIT), Goal(torch.zeros(len(x), dtype=torch.int64))
    oracle = Oracle(model, around, goal, press_on=press_on)
    attack(Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(x))]), oracle))
    return oracle.ledger


RAMP = (0.2 + 0.05 * torch.arange(9.0)).expand(1, 1, 9, 9).clone()
"""A pixel of flow to the right is 0.05."""


def test_an_image_is_read_where_the_flow_leads():
    flow = torch.zeros(1, 2, 9, 9)
    flow[:, 1] = 0.4
    assert torch.allclose(moved(RAMP, flow)[..., :8], RAMP[..., :8] + 0.02)
    assert torch.allclose(moved(RAMP, flow)[..., 8], RAMP[..., 8])  # beyond the border it goes on as there
    flow[:, 0] = 2.0
    assert torch.allclose(moved(RAMP.transpose(2, 3), flow)[:, :, :7], RAMP.transpose(2, 3)[:, :, :7] + 0.1)


def test_roughness_is_that_of_the_paper():
    flow = torch.zeros(2, 2, 3, 3)
    flow[1, :, 1, 1] = torch.tensor([3.0, 4.0])
    assert torch.allclose(roughness(flow), torch.tensor([0.0, 8 * 5.0]), atol=1e-4)  # four neighbours, from both sides
    assert not roughness(torch.full((1, 2, 3, 3), 7.0)).abs().gt(1e-5).any()


@pytest.mark.parametrize("needed", [0.4, 0.8])
def test_stadv_finds_the_least_flow_and_takes_the_neighbours_along(needed):
    level = RAMP[0, 0, 4, 4] + 0.05 * needed
    smooth, rough = (
        run(stadv(30, 2, tau), Flow(1.0), RAMP, lambda z: 100 * (level - z[:, 0, 4, 4])) for tau in (0.05, 0.0)
    )
    for ledger in (smooth, rough):
        assert ledger.hit.all()
        assert needed <= float(ledger.distance) <= needed + 0.25
    apart = [(ledger.point - RAMP).abs()[0, 0] > 1e-4 for ledger in (smooth, rough)]
    assert int(apart[1].sum()) == 1  # what the model reads, and no more
    assert int(apart[0].sum()) > 20


def test_stadv_stays_within_its_reach():
    level = RAMP[0, 0, 4, 4] + 0.05 * 1.5
    asked = []

    def margin(z):
        asked.append(z.detach())
        return 100 * (level - z[:, 0, 4, 4])

    ledger = run(stadv(25, 1), Flow(1.0), RAMP, margin)
    assert not ledger.hit.any()
    assert Flow(1.0).at(RAMP.expand(len(asked), -1, -1, -1), UNIT).contains(torch.cat(asked)).all()


def test_the_slope_of_colour_is_that_of_the_measure():
    g = torch.Generator().manual_seed(0)
    x, z = (0.2 + 0.6 * torch.rand(2, 3, 2, 2, generator=g) for _ in range(2))
    around = Colour(50.0).at(x, UNIT)
    slope, way = colour_slope(around, z), torch.randn(2, 3, 2, 2, generator=g).double()
    lengths = [around.measure(z.double() + s * way).flatten(1).norm(dim=1) for s in (1e-4, -1e-4)]
    assert torch.allclose((slope * way).flatten(1).sum(1), (lengths[0] - lengths[1]) / 2e-4, rtol=1e-3)
    assert not colour_slope(around, x).any()
    grey = Colour(50.0).at(torch.full((1, 1, 1, 1), 0.5), UNIT)  # where the formula has no derivative
    assert float(colour_slope(grey, torch.full((1, 1, 1, 1), 0.6))) > 10


def test_perc_cw_finds_the_least_visible_colour():
    """One pixel whose channels must sum to 0.3 more: the best of all colours that do, from a table."""
    x = torch.tensor([0.3, 0.5, 0.4]).reshape(1, 3, 1, 1)
    found = run(perc_cw(40, 3, rate=0.04), Colour(60.0), x, lambda z: 20 * (1.5 - z.sum((1, 2, 3))))
    red, green = torch.meshgrid(torch.linspace(0, 1, 81), torch.linspace(0, 1, 81), indexing="ij")
    blue = 1.5 - red - green
    table = torch.stack((red, green, blue), -1)[(blue >= 0) & (blue <= 1)][:, :, None, None]
    seen_as = Colour(60.0).at(x.expand(len(table), -1, -1, -1), UNIT).distance(table)
    nearest = Colour(60.0).at(x, UNIT).distance(x + 0.1)  # in l2
    assert seen_as.min() < 0.97 * nearest
    assert float(found.distance) < min(1.03 * float(seen_as.min()), float(nearest))


def test_perc_cw_asks_members_alone():
    x = torch.full((1, 1, 2, 2), 0.5)
    asked = []

    def margin(z):
        asked.append(z.detach())
        return 20 * (0.9 - z.mean((1, 2, 3)))

    ledger = run(perc_cw(12, 1, rate=0.1), Colour(5.0), x, margin)
    assert not ledger.hit.any()
    assert Colour(5.0).at(x.expand(len(asked), -1, -1, -1), UNIT).contains(torch.cat(asked)).all()
    assert max(float(Colour(5.0).at(x, UNIT).distance(z)) for z in asked) > 4.5


EYE = nn.Sequential(nn.Identity(), nn.ReLU()).eval()
"""Of two channels it sees their direction: the feature distance is the chord of the angle between."""
ANGLES = torch.linspace(0.1, 0.5, 4)


@pytest.mark.parametrize("attack", [ppgd(10), ppgd(4), lpa(10, 3)], ids=["ppgd", "few", "lpa"])
def test_feature_attacks_reach_the_border_when_it_is_within(attack):
    x = 0.6 * torch.stack((ANGLES.cos(), ANGLES.sin()), 1)[:, :, None, None]
    chord = 2 * torch.sin((0.7 - ANGLES) / 2)
    for row in range(len(x)):
        hits = [
            run(
                attack,
                Features(share * float(chord[row]), EYE),
                x[row : row + 1],
                lambda z: math.tan(0.7) * z[:, 0, 0, 0] - z[:, 1, 0, 0],
                press_on=False,
            ).hit.item()
            for share in (0.97, 1.05)
        ]
        assert hits == [False, True]


def around_features():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 5, 2), nn.Softplus()).eval()
    x = torch.rand(2, 1, 3, 3)
    return Features(0.2, network, ("1",)).at(x, UNIT), x + 0.05 * torch.randn(2, 1, 3, 3)


def jacobian(around, z):
    """Of the features at each row, float64 (B, F, N)."""
    count = seen(around, z).shape[1]
    rows = [pulled_back(around, z, torch.eye(count).double()[k].expand(len(z), -1)).flatten(1) for k in range(count)]
    return torch.stack(rows, 1)


def test_slopes_of_features_are_those_of_the_measure():
    around, z = around_features()
    full, way = jacobian(around, z), torch.randn(2, 1, 3, 3).double()
    there = pushed(around, z, seen(around, z), way, 1e-5)
    assert torch.allclose(there, (full @ way.flatten(1)[:, :, None])[..., 0], atol=1e-3)
    far, outwards = away(around, z)
    assert torch.allclose(far, around.distance(z))
    lengths = [around.distance(z.double() + s * way) for s in (1e-5, -1e-5)]
    assert torch.allclose((outwards * way).flatten(1).sum(1), (lengths[0] - lengths[1]) / 2e-5, atol=1e-4)
    assert not away(around, around.x)[1].any()


def test_the_step_of_ppgd_solves_the_normal_equations():
    """(J^T J)^-1 g, of the feature length asked: of all changes of that length none gains more, and g itself gains less."""
    around, z = around_features()
    full = jacobian(around, z)
    g = (full.transpose(1, 2) @ torch.randn(2, full.shape[1], 1).double())[..., 0].view(2, 1, 3, 3)
    length = torch.tensor([0.1, 0.3]).double()
    step = ahead(around, z, g, length, 9)
    best = (torch.linalg.pinv(full.transpose(1, 2) @ full) @ g.flatten(1)[:, :, None])[..., 0].view_as(step)
    moves = [(full @ d.flatten(1)[:, :, None])[..., 0].norm(dim=1) for d in (step, best, g)]
    assert torch.allclose(moves[0], length, rtol=0.02)
    gains = [(g * d).flatten(1).sum(1) / m for d, m in zip((step, best, g), moves, strict=True)]
    assert (gains[0] > 0.98 * gains[1]).all()
    assert (gains[2] < 0.95 * gains[1]).all()


@pytest.mark.parametrize("attack", [stadv(2), perc_cw(2), ppgd(2), lpa(2)])
def test_other_sets_are_refused(attack):
    with pytest.raises(UsageError, match="not in LinfBall"):
        run(attack, Linf(0.1), RAMP, lambda z: z.sum((1, 2, 3)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: stadv(0),
        lambda: stadv(tau=-1.0),
        lambda: stadv(rate=0.0),
        lambda: perc_cw(binary_steps=0),
        lambda: perc_cw(confidence=-1.0),
        lambda: ppgd(inner_steps=0),
        lambda: lpa(steps=0),
    ],
)
def test_senseless_settings_are_refused(make):
    with pytest.raises(UsageError):
        make()
