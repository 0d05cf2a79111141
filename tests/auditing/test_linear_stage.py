"""Linear bounds as a stage of an audit: they close brackets that intervals leave open, and say why where they can't."""

import pytest
import torch
from torch import nn

from robustly import Linf, alpha_crown, apgd, audit, interval
from robustly.auditing.plan import load_plan


def trained():
    """A small network that separates two half-planes with room to spare."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 2))
        x = torch.rand(256, 4)
        y = (x.sum(1) > 2).long()
        optimiser = torch.optim.Adam(net.parameters(), 0.02)
        for _ in range(60):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimiser.step()
    return net.eval(), x[:40], y[:40]


def test_an_audit_certifies_what_intervals_cannot(tmp_path):
    net, x, y = trained()
    attack = apgd(steps=10)
    few = audit(net, (x, y), Linf(0.06), plan=[attack, interval()], out=tmp_path / "a")
    more = audit(net, (x, y), Linf(0.06), plan=[attack, interval(), alpha_crown(5)], out=tmp_path / "b")
    assert few.summary.attacked == more.summary.attacked
    assert more.summary.certified_count > few.summary.certified_count
    by = {row.by.split("(")[0] for row in more.rows if row.verdict == "certified"}
    assert by == {"interval", "alpha_crown"}
    assert all(row.bound > 0 for row in more.rows if row.verdict == "certified")


@pytest.mark.parametrize(
    ("name", "proofs"),
    [
        ("fast", ["crown_ibp", "crown"]),
        ("standard", ["alpha_crown", "beta_crown"]),
        ("plus", ["alpha_crown", "beta_crown"]),
        ("deep", ["alpha_crown", "beta_crown"]),
    ],
)
def test_the_plans_prove_after_the_attacks_and_for_no_more_than_these_cost(name, proofs):
    """The cheapest first, on the likeliest first."""
    stages = load_plan(name).stages
    places = {s.spec.name: k for k, s in enumerate(stages) if s.kind == "certify"}
    order = [places[proof] for proof in ("interval", *proofs)]
    assert order == sorted(order)
    for proof in proofs:
        assert stages[places[proof]].probe == 10
        assert 0 < stages[places[proof]].share <= 1
        assert places[proof] > max(k for k, s in enumerate(stages) if s.spec.name in ("apgd", "square"))
