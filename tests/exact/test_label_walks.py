"""The walks on labels alone come near the known optimum, never below it, and far nearer than where they begin."""

from __future__ import annotations

import pytest
import torch
from tests.exact.closed_form import attacked, binary, sphere

from robustly.attacks.boundary import boundary
from robustly.attacks.hopskipjump import hopskipjump
from robustly.attacks.rays import rays
from robustly.oracle import Access
from robustly.steps import in_turn

MODELS = {"half-space": lambda: binary(count=16, room=1.5), "sphere": lambda: sphere(count=24, room=6.0)}
CASES = [  # attack, norm, model, the worst and the median ratio to the optimum allowed
    (hopskipjump(1000), "l2", "half-space", 1.1, 1.03),
    (hopskipjump(1000), "l2", "sphere", 1.05, 1.01),
    (hopskipjump(1000), "linf", "half-space", 1.3, 1.1),
    (boundary(1000), "l2", "half-space", 1.1, 1.03),
    (boundary(1000), "l2", "sphere", 1.05, 1.01),
    (rays(1000), "linf", "half-space", 1.03, 1.01),
]


def of_labels(name):
    known = MODELS[name]()
    return type(known)(known.model.granting(Access.LABELS), known.x, known.y, known.distance)


def given(case):
    """A point in the sphere, away from its middle: noise would rarely meet it. It tells nothing of the other model."""
    point = torch.zeros_like(case.around.x)
    point[:, :2] = 1.3
    case.oracle.labels(point)


@pytest.mark.parametrize(
    ("attack", "norm", "name", "worst", "middle"), CASES, ids=[f"{c[0].spec.name} {c[1]} {c[2]}" for c in CASES]
)
def test_the_distance_is_within_a_factor_of_the_optimum(attack, norm, name, worst, middle):
    known = of_labels(name)
    ledger = attacked(known, in_turn(given, attack), norm, torch.inf, press_on=True)
    ratio = ledger.distance / known.distance[norm]
    print(f"{ratio.max():.4f} {ratio.median():.4f}")
    assert ratio.max() < worst
    assert ratio.median() < middle
    assert ratio.min() > 1 - 1e-5
    few = attacked(known, in_turn(given, _short(attack)), norm, torch.inf, True)
    assert (few.distance / known.distance[norm]).median() > 1.1 * middle


def _short(attack):
    """The same attack stopped after a few queries: its start."""
    make = {"hopskipjump": hopskipjump, "boundary": boundary, "rays": rays}[attack.spec.name]
    return make(8)
