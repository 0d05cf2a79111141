"""The same problem in other units is the same problem: no attack and no set takes inputs to lie in [0, 1].

A range of 0 to 256 scales every float32 by a power of two, so that the outcome has the same bits; -1 to 1 also rounds
differently, so that a few examples may. Passes are bounded, so that a search that never ends is a failure, not a wait.
"""

from dataclasses import replace

import pytest
import torch

from robustly.oracle import Model, Oracle
from robustly.steps import Case
from robustly.threats import L0, Both, Domain, Edits, Features, Grid

from .cases import OF_IMAGES, attacks, key_of, problem, small_attack, threats_for

NUMERIC = [
    pytest.param(e, t, id=f"{e.name} {t}") for e in attacks() for t in threats_for(e) if not isinstance(t, Edits)
]
MOST = 1500
"""Passes of all nine examples together that no attack at small settings comes near."""


def rescaled(threat, scale):
    """The threat with its sizes in units `scale` times as small."""
    if isinstance(threat, Grid):
        return replace(threat, threat=rescaled(threat.threat, scale))
    if isinstance(threat, Both):
        return Both(rescaled(threat.first, scale), rescaled(threat.second, scale))
    return threat if isinstance(threat, (L0, *OF_IMAGES)) else replace(threat, eps=threat.eps * scale)


def in_units(entry, threat, scale, low):
    """The ledger of the attack where inputs are low + scale * x."""
    unit, x, goal, ids = problem(threat)
    domain, asked = Domain(low, low + scale), []

    def call(z):
        asked.append(z.detach())
        return unit.call((z - low) / scale)

    def tick(forward, backward):
        assert sum(map(len, asked)) < MOST, "asked without end"

    model = Model(call, domain, classes=unit.classes)
    around = rescaled(threat, scale).at(x * scale + low, domain)
    oracle = Oracle(model, around, goal, tick=tick)
    small_attack(entry)(Case(around, goal, key_of(ids), oracle))
    assert all(((z >= domain.low) & (z <= domain.high)).all() for z in asked)
    return oracle.ledger


@pytest.mark.parametrize(("entry", "threat"), NUMERIC)
def test_units_do_not_matter(entry, threat):
    here, scaled, moved = (in_units(entry, threat, *units) for units in ((1.0, 0.0), (256.0, 0.0), (2.0, -1.0)))
    assert torch.equal(here.hit, scaled.hit)
    assert torch.equal(here.forward, scaled.forward)
    size = 1.0 if isinstance(threat, (L0, *OF_IMAGES)) else 256.0
    assert torch.allclose(here.distance * size, scaled.distance, rtol=1e-4)
    if not isinstance(threat, Features):  # whose network reads other numbers there
        assert (here.hit != moved.hit).sum() <= 1
