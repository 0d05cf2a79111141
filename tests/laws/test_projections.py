"""A projection is the nearest member, by a condition that leaves no room: p is nearest to z if and only if no member m of
the convex set has <z - p, m - p> > 0, and the member that has most of it is the linear maximum along z - p.

Drawn members alone do not notice a projection that rescales and clips: they lie too far from it.
"""

import pytest

from .test_sets import EXACT, SHAPES, make

CONVEX = [name for name in EXACT if not name.startswith("l0") and name != "l2 and l1"]
ROUNDING = 1e-5
"""Of float32, relative to the lengths multiplied; a rescaling projection is wrong by 0.1 and more."""


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CONVEX)
def test_no_member_lies_beyond_the_projection(name, shape):
    around, _, g = make(name, shape)
    for scale in (0.05, 0.5, 3.0, 50.0):
        z = around.x + scale * around.x.new_empty(around.x.shape).normal_(generator=g)
        p = around.project(z)
        away, top = (z - p).double().flatten(1), around.linear_max(z - p).double().flatten(1)
        beyond = (away * (top - p.double().flatten(1))).sum(1)
        size = away.norm(dim=1) * (top - around.x.double().flatten(1)).norm(dim=1)
        assert (beyond <= ROUNDING * size + 1e-9).all()
