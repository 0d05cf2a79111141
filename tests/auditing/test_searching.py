"""The trial that chooses what a search runs on, and what becomes of a twin that errs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from robustly import Linf, audit
from robustly.adapters.models import load_model
from robustly.auditing import audit as auditing
from robustly.auditing import run as running
from robustly.auditing import searching
from robustly.auditing.plan import read_plan
from robustly.auditing.problem import Problem
from robustly.auditing.searching import ROUNDS, Trial, tried
from robustly.auditing.store import Batch, Store
from robustly.zoo.load import images, network

SHORT = 'twin = "auto"\n[[stage]]\nattack = "apgd"\nsteps = 5\nloss = "margin"\n'


class Fine(nn.Module):
    """Labels that hang on differences too fine for bfloat16."""

    def forward(self, z: Tensor) -> Tensor:
        """Scores (B, 2)."""
        mean = z.flatten(1).mean(1) + 1000
        return torch.stack((mean, torch.full_like(mean, 1000.5)), 1)


def zoo(count: int):
    x, y, _ = images("fashion")
    return load_model(network("fashion_adversarial"), range=(0.0, 1.0), classes=10), x[:count], y[:count]


def test_few_examples_are_not_worth_a_trial():
    model, x, _ = zoo(20)
    assert tried(model, x, 20) == Trial(None, "")


def test_a_trial_says_what_it_measured_and_bills_it():
    model, x, _ = zoo(64)
    asked = {"rows": 0}

    def call(z: Tensor) -> Tensor:
        asked["rows"] += len(z)
        return model.call(z)

    trial = tried(replace(model, call=call), x, 1000)
    assert "the judge always asks the model itself" in trial.note
    assert "bf16" in trial.note
    assert asked["rows"] == 64 * (ROUNDS + 2)  # the original's own part
    assert (trial.forward, trial.backward) == (64 * 3 * (ROUNDS + 2), 64 * 3 * (ROUNDS + 1))


def test_a_twin_that_answers_otherwise_is_not_chosen():
    model = load_model(Fine().eval(), range=(0.0, 1.0), classes=2)
    assert tried(model, torch.rand(64, 1, 4, 4), 1000).twin != "bf16"


def test_a_plan_may_ask_for_a_trial_and_a_word_turns_it_off(monkeypatch):
    monkeypatch.setattr(searching, "ENOUGH", 1)
    model, x, y = zoo(30)
    plan = read_plan(SHORT, "own")
    with_trial = audit(model, (x, y), "linf:0.1", plan)
    without = audit(model, (x, y), "linf:0.1", plan, twin="none")
    assert any("after a trial on" in note for note in with_trial.notes)
    assert not any("after a trial on" in note for note in without.notes)
    probes = {
        r: next(s for s in record.stages if s.kind == "probe").forward for r, record in enumerate((with_trial, without))
    }
    assert probes[0] == probes[1] + 30 * 3 * (ROUNDS + 2)


def test_a_resumed_run_keeps_its_choice(monkeypatch, tmp_path):
    monkeypatch.setattr(searching, "ENOUGH", 1)
    model, x, y = zoo(30)
    plan = read_plan(SHORT, "own")
    monkeypatch.setattr(auditing, "tried", lambda *_: Trial("bf16", "chosen once", 5, 4))
    first = audit(model, (x, y), "linf:0.1", plan, out=tmp_path / "run")
    monkeypatch.setattr(auditing, "tried", lambda *_: pytest.fail("a second trial"))
    again = audit(model, (x, y), "linf:0.1", plan, out=tmp_path / "run")
    assert "chosen once" in again.notes
    assert again.summary == first.summary


def test_a_twin_of_too_many_misses_is_dropped(monkeypatch):
    """The twin is another network altogether, whose finds the judge refuses."""
    model, x, y = zoo(60)
    other = load_model(network("fashion_plain"), range=(0.0, 1.0), classes=10)
    monkeypatch.setattr(auditing, "fast_twin", lambda *_: replace(other, module=None))
    first = SHORT.replace("auto", "bf16")
    one = audit(model, (x, y), "linf:0.05", read_plan(first, "own"))
    both = audit(model, (x, y), "linf:0.05", read_plan(first + '[[stage]]\nattack = "pgd"\nsteps = 5\n', "own"))
    assert one.summary.judged_misses >= running.MISSES
    assert any("twin was dropped" in line for line in both.not_tested)
    assert both.summary.judged_misses == one.summary.judged_misses  # the second stage searched on the model itself


def test_misses_of_later_stages_and_sizes_are_not_looked_at():
    """A resumed run has them in its store; one that was never stopped has not."""
    model, x, y = zoo(4)
    problem = Problem(model, replace(model), x, y, ("a", "b", "c", "d"), Linf(0.1), 0)
    later = [(0.05, 0), (0.1, 2), (0.1, running.CROSS_CHECK)]
    done = {(eps, stage, 0): Batch(eps, stage, 0, 4, 0, 0, 0.0, 2 * running.MISSES) for eps, stage in later}
    stages = read_plan(SHORT, "own").stages
    run = running.Run(problem, stages, (0.1, 0.05), Store(None), 4, running.Limits(), done=done)
    assert running._problem(run, stages[0], 0.1, before=2) is problem
    assert running._problem(run, stages[0], 0.1, before=3).search is model
    run.done = {key: b for key, b in done.items() if b.stage == running.CROSS_CHECK}
    assert running._problem(run, stages[0], 0.1, before=2 * running.CROSS_CHECK) is problem


def normed(count: int):
    """A small network with batch norms between its convolutions, where twins answer nearly the same."""
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4)
    net = nn.Sequential(conv, norm, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 13 * 13, 10)).eval()
    x, _, _ = images("fashion")
    model = load_model(net, range=(0.0, 1.0), classes=10)
    return model, x[:count], model.ask(x[:count]).argmax(1)


def paced(monkeypatch, seconds: dict[str, float]) -> None:
    """Times of each model by the kind in its name; the original's is 1."""

    def timed(model, z):
        return next((s for kind, s in seconds.items() if f"({kind} twin)" in model.name), 1.0)

    monkeypatch.setattr(searching, "_timed", timed)
    monkeypatch.setattr(searching, "AGREES", 0.5)


@pytest.mark.parametrize(
    ("seconds", "twin", "exact"),
    [
        ({"folded": 0.7, "channels-last": 0.6, "bf16": 0.3}, "bf16", "channels-last"),
        ({"folded": 0.5, "channels-last": 0.6, "bf16": 0.9}, "folded", "folded"),
        ({"folded": 0.9, "channels-last": 0.95, "bf16": 0.5}, "bf16", None),
        ({"folded": 0.9, "channels-last": 0.9, "bf16": 0.9}, None, None),
    ],
)
def test_the_quickest_is_chosen_and_the_quickest_of_full_precision(monkeypatch, seconds, twin, exact):
    paced(monkeypatch, seconds)
    model, x, _ = normed(64)
    trial = tried(model, x, 1000)
    assert (trial.twin, trial.exact) == (twin, exact)
    assert ("the nearest on the" in trial.note) == (exact is not None and exact != twin)


def test_a_network_without_batch_norms_has_no_folded_rival():
    model, x, _ = zoo(64)
    assert "folded" not in tried(model, x, 1000).note


def test_stages_on_the_nearest_run_on_the_twin_of_full_precision(monkeypatch):
    monkeypatch.setattr(searching, "ENOUGH", 1)
    paced(monkeypatch, {"folded": 0.5, "channels-last": 0.6, "bf16": 0.3})
    model, x, y = normed(40)
    asked: dict[str, int] = {}

    def counting(model, kind):
        twin = auditing_twin(model, kind)

        def call(z: Tensor) -> Tensor:
            asked[kind] = asked.get(kind, 0) + len(z)
            return twin.call(z)

        return replace(twin, call=call)

    auditing_twin = auditing.fast_twin
    monkeypatch.setattr(auditing, "fast_twin", counting)
    near = '[[stage]]\nattack = "apgd"\nsteps = 6\nloss = "dlr"\noriginal = true\n'
    record = audit(model, (x, y), "linf:0.02", read_plan(SHORT + near, "own"))
    first, second = (s for s in record.stages if s.kind == "attack")
    assert set(asked) == {"bf16", "folded"}
    assert asked["bf16"] <= first.forward
    assert 0 < asked["folded"] <= second.forward
    own = audit(model, (x, y), "linf:0.02", read_plan(SHORT + near, "own"), twin="none")
    assert record.summary.broken == own.summary.broken > 0


def test_a_twin_asked_for_by_name_is_used_throughout_if_it_has_full_precision():
    model, x, y = normed(20)
    near = read_plan(SHORT.replace("auto", "none") + "original = true\n", "own")
    seen = {"own": 0}

    def call(z: Tensor) -> Tensor:
        seen["own"] += len(z) if z.requires_grad else 0
        return model.call(z)

    spent = {}
    for kind in ("folded", "bf16"):
        seen["own"] = 0
        audit(replace(model, call=call), (x, y), "linf:0.02", near, twin=kind)
        spent[kind] = seen["own"]
    assert spent["folded"] < spent["bf16"]


def test_misses_of_one_twin_do_not_drop_the_other():
    model, x, y = zoo(4)
    exact = replace(model)
    problem = Problem(model, replace(model), x, y, ("a", "b", "c", "d"), Linf(0.1), 0, False, exact)
    stages = read_plan(SHORT + '[[stage]]\nattack = "pgd"\noriginal = true\n[[stage]]\nattack = "pgd"\n', "own").stages
    done = {(0.1, 0, 0): Batch(0.1, 0, 0, 4, 0, 0, 0.0, 2 * running.MISSES)}
    run = running.Run(problem, stages, (0.1,), Store(None), 4, running.Limits(), done=done)
    assert running._problem(run, stages[1], 0.1, before=2).search is exact
    assert running._problem(run, stages[2], 0.1, before=4).search is model
    run.done = {(0.1, 2, 0): done[0.1, 0, 0]._replace(stage=2)}
    assert running._problem(run, stages[1], 0.1, before=4).search is model
    assert running._problem(run, stages[2], 0.1, before=4) is problem
