"""Attacks on labels alone come within a stated factor of the known least distance, within a stated number of queries."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tests.exact.closed_form import Known, attacked, binary, no_nearer, sphere

from robustly.attacks.cgba import cgba
from robustly.attacks.circling import circling
from robustly.attacks.geoda import geoda
from robustly.attacks.signopt import signopt
from robustly.attacks.surfree import surfree
from robustly.oracle import Access, Model
from robustly.threats import Domain


def wedge(count: int = 20, n: int = 12) -> Known:
    """Scores (0, max(<u, x>, <v, x>) - 1) with u and v at 60 degrees: the goal is met outside a wedge with a sharp edge."""
    g = torch.Generator().manual_seed(4)
    a = torch.linalg.qr(torch.randn(n, 2, generator=g, dtype=torch.float64)).Q.T
    u, v = a[0], 0.5 * a[0] + math.sqrt(0.75) * a[1]
    x = torch.randn(count, n, generator=g) * 0.2
    gaps = 1 - torch.stack((x.double() @ u, x.double() @ v), 1)
    assert (gaps > 0).all()
    both = torch.stack((u, v)).float()
    model = Model(
        lambda z: torch.stack((torch.zeros(len(z)), (z @ both.T).amax(1) - 1), 1), Domain(-6.0, 6.0), classes=2
    )
    distance = {
        "l2": gaps.amin(1),
        "linf": (gaps / torch.stack((u, v)).abs().sum(1)).amin(1),
        "l1": (gaps / torch.stack((u, v)).abs().amax(1)).amin(1),
    }
    return Known(model, x, torch.zeros(count, dtype=torch.int64), distance)


MODELS = {
    "halfspace": lambda: no_nearer(binary(20, room=2.0), 0.1),
    "sphere": lambda: sphere(20, room=6.0),
    "wedge": wedge,
}
NEAR = [  # attack, norm, and the median ratio to the optimum after 1000 queries: on a halfspace, a sphere, a wedge
    (cgba, "l2", (1.02, 1.02, 1.02)),
    (circling, "l2", (1.02, 1.02, 1.02)),
    (surfree, "l2", (1.05, 1.05, 1.1)),
    (signopt, "l2", (1.05, 1.05, 1.05)),
    (signopt, "linf", (1.3, 1.5, 1.5)),
    (geoda, "l2", (1.05, 1.2, 1.05)),
    (geoda, "linf", (1.1, 1.4, 1.1)),
    (geoda, "l1", (1.2, 1.45, 1.2)),
]
SETTINGS = {"signopt": {"directions": 20}, "circling": {"directions": 20}}
CASES = [(make, norm, name, NEAR[i][2][j]) for i, (make, norm, _) in enumerate(NEAR) for j, name in enumerate(MODELS)]


def ratio(make, norm: str, known: Known, queries: int) -> torch.Tensor:
    known = replace(known, model=known.model.granting(Access.LABELS))
    start = 1.5 * torch.eye(known.x.shape[1])[:1]  # within the sphere, which random points miss
    ledger = attacked(
        known, make(queries, **SETTINGS.get(make.__name__, {}), pool=start), norm, torch.inf, press_on=True
    )
    assert ledger.hit.all()
    assert ledger.forward.max() <= queries
    return ledger.distance / known.distance[norm]


@pytest.mark.parametrize(
    ("make", "norm", "name", "middle"), CASES, ids=[f"{m.__name__} {n} {k}" for m, n, k, _ in CASES]
)
def test_comes_near_the_least_distance(make, norm, name, middle):
    known = MODELS[name]()
    late, soon = ratio(make, norm, known, 1000), ratio(make, norm, known, 60)
    assert late.min() >= 1 - 1e-4
    print(
        f"\n{make.__name__} {norm} {name}: median {late.median():.4f}, worst {late.max():.4f}; after 60 {soon.median():.3f}"
    )
    assert late.median() < middle
    assert late.median() < soon.median()
