"""What a mask forbids stays as it is, in every point a set gives, and no point that changes it is a member."""

import pytest
import torch

from robustly.core import keys
from robustly.threats import L0, L1, L2, Both, Domain, Grid, Linf

UNIT = Domain(0.0, 1.0)
MASK = torch.tensor([[True, False, True], [False, False, True]])
MASKED = {
    "linf": Linf(0.3, MASK),
    "l2": L2(0.5, MASK),
    "l1": L1(1.0, MASK),
    "l0": L0(2, MASK),
    "grid": Grid(Linf(0.2, MASK)),
    "both": Both(Linf(0.3, MASK), L2(0.4, MASK)),
}


@pytest.mark.parametrize("name", MASKED)
def test_masked_numbers_stay_and_the_others_move(name):
    g = torch.Generator().manual_seed(0)
    x = torch.randint(60, 200, (5, 2, 3), generator=g).float() / 255
    around = MASKED[name].at(x, UNIT)
    far = x + 3 * torch.randn(x.shape, generator=g)
    points = [around.project(far), around.sample(keys.from_ids(0, list("abcde")))]
    if name != "grid":
        points.append(around.linear_max(far - x))
    for z in points:
        assert torch.equal(z[:, ~MASK], x[:, ~MASK])
        assert (z[:, MASK] != x[:, MASK]).any(1).all()
    for place in (~MASK).nonzero().tolist():
        z = x.clone()
        z[:, place[0], place[1]] += 1 / 255
        assert not around.contains(z).any()
    if name != "grid":
        low, high = around.box()
        assert torch.equal(low[:, ~MASK], x[:, ~MASK].double())
        assert torch.equal(high[:, ~MASK], x[:, ~MASK].double())
