"""PDPGD, trust region, Brendel-Bethge, EAD and C&W for linf and l0 against distances known in closed form."""

from __future__ import annotations

import pytest
import torch
from tests.exact.closed_form import attacked, binary, no_nearer, sphere

from robustly.attacks.brendel_bethge import brendel_bethge
from robustly.attacks.cw_l0 import cw_l0
from robustly.attacks.cw_linf import cw_linf
from robustly.attacks.ead import ead
from robustly.attacks.pdpgd import pdpgd
from robustly.attacks.trust_region import trust_region
from robustly.steps import per_target
from robustly.steps.plane_step import PULLS, step_along
from robustly.steps.proximal import block, capped, soft, two_thirds
from robustly.threats.l1 import L1Ball
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall

MODELS = {
    "binary": lambda: no_nearer(binary(count=16, room=1.5), 0.05),
    "sphere": lambda: sphere(count=16, room=6.0),
}
CASES = [
    (brendel_bethge(60), "linf", 1.02),
    (brendel_bethge(60), "l2", 1.02),
    (brendel_bethge(60), "l1", 1.05),
    (pdpgd(200), "linf", 1.1),
    (pdpgd(200), "l2", 1.05),
    (pdpgd(200), "l1", 1.1),
    (trust_region(40), "linf", 1.05),
    (trust_region(40), "l2", 1.05),
    (ead(80, 8, rate=0.01, beta=1e-3), "l1", 1.25),
    (cw_linf(50, 30), "linf", 1.15),
]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("attack", "norm", "within"), CASES, ids=lambda v: getattr(v, "spec", v) and str(getattr(v, "spec", v))[:24]
)
def test_comes_near_the_least_distance(name, attack, norm, within):
    known = MODELS[name]()
    ledger = attacked(known, per_target(attack), norm, torch.inf, press_on=True)
    ratio = ledger.distance / known.distance[norm]
    assert ledger.firm.all()
    assert ratio.min() >= 1 - 1e-5
    assert ratio.median() < within


@pytest.mark.parametrize("attack", [pdpgd(150), cw_l0(30, 20), brendel_bethge(60)], ids=["pdpgd", "cw_l0", "bb"])
def test_fewest_coordinates(attack):
    known = binary(count=16, room=0.4, spread=0.2, bias=0.45)
    ledger = attacked(known, attack, "l0", torch.inf, press_on=True)
    assert ledger.firm.all()
    assert (ledger.distance >= known.distance["l0"]).all()
    assert (ledger.distance - known.distance["l0"]).mean() <= 1.5


LEVEL = torch.tensor(0.3)


@pytest.mark.parametrize(
    ("shrink", "size"),
    [(soft, lambda u: u.abs()), (two_thirds, lambda u: u.abs() ** (2 / 3))],
    ids=["soft", "two_thirds"],
)
def test_operators_of_one_coordinate_are_the_least_of_their_problem(shrink, size):
    v = torch.linspace(-3, 3, 61, dtype=torch.float64)[:, None]
    found = shrink(v, LEVEL.double())

    def cost(u):
        return LEVEL * size(u) + (u - v).square() / 2

    grid = torch.linspace(-3, 3, 6001, dtype=torch.float64)[None]
    assert (cost(found).squeeze(1) <= cost(grid).amin(1) + 1e-5).all()
    assert (found != v).any()


@pytest.mark.parametrize(
    ("shrink", "size"),
    [(block, lambda u: u.norm(dim=1)), (capped, lambda u: u.abs().amax(1))],
    ids=["block", "capped"],
)
def test_operators_of_a_whole_change_are_the_least_of_their_problem(shrink, size):
    g = torch.Generator().manual_seed(0)
    v = torch.randn(20, 5, generator=g, dtype=torch.float64)
    level = torch.linspace(0.05, 4, 20, dtype=torch.float64)
    found = shrink(v, level)

    def cost(u):
        return level * size(u) + (u - v).square().sum(1) / 2

    for scale in (0.3, 0.03, 0.003):
        for _ in range(100):
            other = found + scale * torch.randn(20, 5, generator=g, dtype=torch.float64)
            assert (cost(found) <= cost(other) + 1e-9).all()


@pytest.mark.parametrize(("ball", "order"), [(LinfBall, torch.inf), (L2Ball, 2.0), (L1Ball, 1.0)])
def test_the_step_along_the_plane_is_the_least_of_its_problem(ball, order):
    """Against scipy's solver for constrained problems, on small problems where the trust region binds or doesn't."""
    from scipy.optimize import minimize

    g = torch.Generator().manual_seed(1)
    change = (torch.rand(6, 4, generator=g) - 0.5) * 0.8
    slope, low, high = torch.randn(6, 4, generator=g), -torch.ones(6, 4) * 0.6, torch.ones(6, 4) * 0.6
    gap, radius = 0.05 * torch.randn(6, generator=g), torch.linspace(0.15, 0.5, 6)
    step = step_along(PULLS[ball], change, slope, gap, radius, low, high)
    assert (step.norm(dim=1) <= radius * 1.001).all()
    assert ((change + step) >= low - 1e-6).all()
    assert ((change + step) <= high + 1e-6).all()
    for i in range(6):
        v, b = change[i].double().numpy(), slope[i].double().numpy()
        best = min(
            (
                minimize(
                    lambda d, v=v: float(torch.linalg.vector_norm(torch.as_tensor(v + d), ord=order)),
                    begin,
                    bounds=list(zip(-0.6 - v, 0.6 - v, strict=True)),
                    constraints=[
                        {"type": "eq", "fun": lambda d, b=b, i=i: b @ d - float(gap[i])},
                        {"type": "ineq", "fun": lambda d, i=i: float(radius[i]) ** 2 - d @ d},
                    ],
                )
                for begin in (0 * v, step[i].double().numpy(), -0.3 * v)
            ),
            key=lambda r: (not r.success, r.fun),
        )
        if not best.success:
            continue
        ours = float(torch.linalg.vector_norm((change + step)[i].double(), ord=order))
        assert ours <= best.fun * (1.12 if ball is L1Ball else 1.03) + 1e-3
        assert ours < float(torch.linalg.vector_norm(change[i].double(), ord=order)) + abs(float(gap[i]))
