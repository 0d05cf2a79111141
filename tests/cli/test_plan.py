"""robustly plan: exact worst-case passes, and nothing sent."""

import pytest
import torch

from robustly import L2, Domain, Linf, Model, apgd, greedy, interval, noise, per_target, pgd, square
from robustly.auditing.estimate import estimate, outline, speed
from robustly.auditing.plan import PlanStage, load_plan
from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Access, Oracle
from robustly.steps import Case
from robustly.threats import Edits


def test_nothing_is_sent_to_a_model_that_is_no_network_here(here, run, monkeypatch):
    monkeypatch.setenv("ROWS", str(here / "rows"))
    said = run("plan", "net.py:counted", "data.npz", "--threat", "linf:0.1")
    assert said.code == 0
    assert "no time is given" in said.out
    assert not (here / "rows").exists()
    assert not (here / "runs").exists()


def test_a_network_is_timed_on_random_inputs_unless_that_is_refused(here, run, monkeypatch):
    monkeypatch.setenv("ROWS", str(here / "rows"))
    said = run("plan", "net.py:module", "data.npz", "--threat", "linf:0.1", "--no-measure")
    assert said.code == 0
    assert not (here / "rows").exists()
    said = run("plan", "net.py:module", "data.npz", "--threat", "linf:0.1")
    assert "at worst about" in said.out
    assert "random inputs" in said.out
    assert (here / "rows").exists()


def test_the_table_adds_up(here, run):
    (here / "own.toml").write_text('[[stage]]\nattack = "pgd"\nsteps = 7\n[[stage]]\nattack = "square"\nqueries = 30\n')
    said = run(
        "plan",
        "net.py:build",
        "data.npz",
        "--threat",
        "linf:0.1",
        "--plan",
        "own.toml",
        "--limit",
        "10",
        "--eps",
        "0.2",
    )
    worst = next(line for line in said.out.splitlines() if "at worst" in line).split()
    # pgd asks its last point too: 8 + 7; the clean pass is paid once, the stages at both sizes
    assert worst[-4:] == ["39", "7", str(10 * (1 + 2 * 38)), "140"]


@pytest.mark.parametrize(
    ("attack", "threat"),
    [
        (pgd(steps=9), Linf(0.1)),
        (apgd(steps=13), L2(0.5)),
        (per_target(apgd(steps=5), targets=3), Linf(0.1)),
        (square(queries=40), Linf(0.1)),
        (noise(tries=6), Linf(0.1)),
    ],
)
def test_the_estimate_is_what_a_model_that_never_errs_is_charged(attack, threat):
    like = torch.full((1, 2, 5, 5), 0.5)
    (cost,) = estimate([PlanStage("attack", attack)], threat, like, 4, Domain(0, 1), Access.GRADIENTS)
    asked = []

    def call(z):
        asked.append(len(z))
        other = z.flatten(1)[:, :3].sin()
        return torch.cat((torch.full((len(z), 1), 9.0), other), 1)

    model = Model(call, Domain(0, 1), classes=4)
    x = keys.uniform(keys.from_ids(3, ["x"]), (3, 4, 4))
    around, goal = threat.at(x, model.domain), Goal(torch.zeros(1, dtype=torch.int64))
    oracle = Oracle(model, around, goal, clean=model.ask(x))
    asked.clear()
    attack(Case(around, goal, keys.from_ids(1, ["key"]), oracle))
    assert (cost.forward, cost.backward) == (int(oracle.ledger.forward), int(oracle.ledger.backward))
    assert cost.forward == sum(asked) > 0
    assert not cost.capped


def test_certifiers_and_texts_have_a_cost_too():
    image = torch.full((1, 4), 0.5)
    (cost,) = estimate([PlanStage("certify", interval())], Linf(0.1), image, 3, Domain(0, 1), Access.GRADIENTS)
    net = torch.nn.Linear(4, 3).requires_grad_(False).eval()
    around = Linf(0.1).at(image, Domain(0, 1))
    real = interval()(Model(net, Domain(0, 1), module=net), around, Goal(torch.zeros(1, dtype=torch.int64)))
    assert (cost.forward, cost.backward) == (real.forward, 0)
    assert cost.forward > 0
    (cost,) = estimate([PlanStage("attack", greedy(width=10))], Edits(2), ("text",), 2, Domain(), Access.SCORES)
    assert cost.forward == 20


def test_an_endless_stage_is_capped_and_says_so(monkeypatch):
    monkeypatch.setattr("robustly.auditing.estimate.MOST", 50)
    stage = PlanStage("attack", square(queries=1000))
    (cost,) = estimate([stage], Linf(0.1), torch.full((1, 4), 0.5), 3, Domain(0, 1), Access.SCORES)
    assert cost.capped
    assert cost.forward == 50


@pytest.mark.parametrize("threat", ["linf:0.1", "l2:0.5", "edits:2"])
def test_the_outline_has_a_cost_for_what_fits_the_threat(threat):
    costs = outline(load_plan("quick"), threat)
    names = [cost.spec.name for cost in costs]
    assert "noise" in names
    assert ("greedy" in names) == (threat == "edits:2")
    assert all(cost.passes > 0 for cost in costs if cost.kind == "attack")


def test_speed_stays_in_the_range_and_needs_a_network():
    seen = []

    class Net(torch.nn.Module):
        def forward(self, z):
            seen.append(z.detach())
            return z.flatten(1)

    net = Net().eval()
    found = speed(Model(net, Domain(2, 3), classes=4, module=net), (2, 2))
    assert found is not None
    assert found.forward > 0 < found.backward
    assert all(z.min() >= 2 and z.max() <= 3 for z in seen)
    assert speed(Model(net, Domain(2, 3), classes=4), (2, 2)) is None
