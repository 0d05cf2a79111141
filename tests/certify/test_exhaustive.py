"""A certificate by asking everything: equal to brute force, never at odds with the sweep, and silent where it can't know."""

import pytest
import torch

from robustly import attack, audit
from robustly.attacks.sweep import sweep
from robustly.certify.exhaustive import exhaustive
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle import Access, Model
from robustly.threats import Corrupt, Domain, Linf, Rotate, Shift

UNIT = Domain(0.0, 1.0)


def problem(count=24):
    g = torch.Generator().manual_seed(0)
    x, weight = torch.rand(count, 1, 6, 6, generator=g), torch.randn(36, 3, generator=g)
    model = Model(lambda z: torch.tanh(z.flatten(1) - 0.5) @ weight, UNIT, classes=3)
    return model, x, model.ask(x).argmax(1)


@pytest.mark.parametrize("threat", [Rotate(8, step=2), Shift(1), Corrupt(2)], ids=str)
def test_the_bound_is_the_least_margin_of_all_members(threat):
    model, x, y = problem()
    around, goal = threat.at(x, UNIT), Goal(y)
    bound = exhaustive()(model, around, goal)
    margins = torch.stack([goal.margin(model.ask(around.member(n))) for n in range(around.count)])
    assert torch.allclose(bound.lower, margins.amin(0).double(), atol=1e-4)
    assert (bound.lower <= margins.amin(0)).all()
    assert bound.forward == around.count
    assert [w is None for w in bound.why] == bound.certified.tolist()
    broken = attack(sweep(), model, x, y, threat, range=(0, 1)).success
    assert torch.equal(bound.certified, ~broken)
    assert broken.any()
    assert not broken.all() or isinstance(threat, Shift)


def test_targets():
    model, x, y = problem()
    around, goal = Shift(1).at(x, UNIT), Goal(y, (y + 1) % 3)
    bound = exhaustive()(model, around, goal)
    assert (bound.lower >= exhaustive()(model, around, Goal(y)).lower - 1e-9).all()


def test_it_abstains():
    model, x, y = problem()
    goal, shifts = Goal(y), Shift(1).at(x, UNIT)
    for bound, says in (
        (exhaustive()(model, Linf(0.1).at(x, UNIT), goal), "cannot be counted off"),
        (exhaustive(8)(model, shifts, goal), "9 members, more than 8"),
        (exhaustive()(model.granting(Access.LABELS), shifts, goal), "labels only"),
    ):
        assert not bound.certified.any()
        assert says in str(bound.why[0])
    odd = Model(lambda z: torch.where(z[:, 0, :1, 0] == 0, torch.nan, model.call(z)), UNIT, classes=3)
    assert not exhaustive()(odd, shifts, goal).certified.any()
    with pytest.raises(UsageError, match="at least 1"):
        exhaustive(0)


def test_an_audit_decides_every_example(tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 3)).eval()
    _, x, _ = problem()
    y = net(x).argmax(1)
    record = audit(net, (x, y), "rotate:8,step:2", [exhaustive(), sweep()], range=(0, 1), out=tmp_path)
    verdicts = [row.verdict for row in record.rows]
    assert set(verdicts) == {"broken", "certified"}
    broken = [row.index for row in record.rows if row.verdict == "broken"]
    around = Rotate(8, step=2).at(x, UNIT)
    for i in broken[:3]:
        pair = record.pair(i)
        z = torch.from_numpy(pair.adversarial)[None]
        assert around.take(torch.tensor([i])).contains(z).all()
