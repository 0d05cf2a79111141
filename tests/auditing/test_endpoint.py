"""A campaign against a real server: verdicts, budgets, kill -9, resuming, and what the record says of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.adapters.endpoint.server import CLASSES, SIZE, Reply, Target, linear, weights

import robustly
from robustly.adapters.endpoint.settings import Settings
from robustly.attacks.noise import noise
from robustly.attacks.square import square
from robustly.core.errors import SoundnessWarning, UsageError
from robustly.core.records import Record, read_record

X = torch.rand(8, SIZE, generator=torch.Generator().manual_seed(5)) * 0.8 + 0.1
Y = torch.from_numpy(linear(X.numpy()).argmax(1))
THREAT = "linf:0.08"
PLAN = [square(queries=25)]


def model(target: Target, keep: Path | None = None, **tables: object) -> robustly.Model:
    limits = {"wait": 0.02, "timeout": 5.0, **tables.pop("limits", {})}  # type: ignore[dict-item]
    return robustly.endpoint(Settings.model_validate({"url": target.url, "limits": limits, **tables}), keep=keep)


def audited(target: Target, out: Path | None = None, plan: object = None, **tables: object) -> Record:
    return robustly.audit(model(target, **tables), (X, Y), THREAT, plan or PLAN, range=(0, 1), out=out)


def verdicts(record: Record) -> list[tuple[object, ...]]:
    return [(r.verdict, r.counterexample, r.forward, r.broken_after, r.flags) for r in record.rows]


def test_verdicts_are_those_of_the_model_itself():
    """The same plan on the same linear model without a wire breaks the same examples at the same points."""
    known = torch.from_numpy(weights())

    def here(z):
        return ((z.double() - 0.5) @ known.double()).float()

    with Target() as target:
        far = audited(target)
    near = robustly.audit(here, (X, Y), THREAT, PLAN, range=(0, 1), access="scores")
    assert verdicts(far) == verdicts(near)
    assert far.summary.broken >= 3


def test_the_record_tells_the_campaign(tmp_path):
    with Target(lambda n, x: Reply(503) if n == 30 else None) as target:
        record = audited(target, tmp_path / "run", limits={"budget": 500, "price": 0.5, "currency": "EUR"})
        told = record.endpoint
        assert told is not None
        assert told.queries == target.inputs
        assert (told.retries, told.checks, told.spend, told.currency) == (1, 8 + 4, target.inputs / 2, "EUR")
        assert sum(r.queries for r in record.rows) + told.checks == target.inputs
        assert told.url == target.url
        assert not told.random
        assert all(r.broken_after for r in record.rows if r.verdict == "broken")
        assert read_record(tmp_path / "run") == record
        again = audited(target, tmp_path / "run", limits={"budget": 500, "price": 0.5, "currency": "EUR"})
        assert verdicts(again) == verdicts(record)
        assert again.endpoint is not None
        assert again.endpoint.queries == told.queries == target.inputs  # nothing was asked again


def test_the_end_of_the_budget_keeps_the_best_and_more_budget_goes_on(tmp_path):
    with Target() as target:
        whole = audited(target)
    with Target() as target:
        cut = audited(target, tmp_path / "run", limits={"budget": 60})
        assert target.inputs <= 60
        assert (cut.status, cut.why_partial) == ("partial", "the query budget ended")
        stopped = [r for r in cut.rows if "budget" in r.flags]
        assert stopped
        assert {(r.verdict, r.why) for r in stopped} == {("unknown", "the query budget ended")}
        kept = {r.index for r in cut.rows if r.verdict == "broken"}
        assert kept
        assert kept < {r.index for r in whole.rows if r.verdict == "broken"}
        same = audited(target, tmp_path / "run", limits={"budget": 60})
        assert verdicts(same) == verdicts(cut)
        assert target.inputs <= 60
        more = audited(target, tmp_path / "run", limits={"budget": 5000})
        assert more.status == "complete"
        assert verdicts(more) == verdicts(whole)
        checks = more.endpoint.checks if more.endpoint else 0
        assert set(target.answered.values()) <= set(range(1, 3 + checks // 4))  # only the checks ask again
        assert sum(target.answered.values()) - len(target.answered) == checks


def test_a_budget_that_ends_in_the_clean_pass_is_no_judgement_of_what_was_not_asked(tmp_path):
    with Target() as target:
        cut = audited(target, tmp_path / "run", limits={"budget": 14})
        assert (cut.status, target.inputs) == ("partial", 14)
        assert (cut.summary.clean_asked, cut.summary.clean) == (6, 1.0)
        assert [r.verdict for r in cut.rows] == ["unknown"] * 8
        assert [r.clean_label is None for r in cut.rows] == [False] * 6 + [True] * 2
        assert [r.flags for r in cut.rows[6:]] == [("budget",)] * 2
        more = audited(target, tmp_path / "run", limits={"budget": 5000})
        assert (more.status, more.summary.clean_asked) == ("complete", 8)


def test_the_budget_of_an_example_holds_over_all_stages():
    with Target() as target:
        record = audited(target, plan=[noise(), square(queries=25), square(queries=50)], limits={"queries": 12})
        assert max(r.queries for r in record.rows) == 12
        assert record.status == "complete"
        spent = [r for r in record.rows if "budget" in r.flags]
        assert {r.verdict for r in spent} == {"unknown"}
        assert any("ran out of query budget" in w for w in record.warnings)


def test_a_perturbation_that_dies_in_the_encoding_is_no_finding():
    """A step of 0.4 of the smallest number on the wire breaks the model beyond it, but never arrives."""
    x = X.round(decimals=1)
    scores = linear(x.numpy())
    y = torch.from_numpy(scores.argmax(1))
    with Target() as target:
        made = model(target, request={"decimals": 1})
        record = robustly.audit(made, (x, y), "linf:0.04", [square(queries=10)], range=(0, 1))
        assert record.summary.broken == 0
        assert record.summary.unknown == len(x)
        arrived = {x.tobytes() for x in x.numpy()}
        assert set(target.answered) == arrived
        wide = robustly.audit(model(target, request={"decimals": 1}), (x, y), "linf:0.15", PLAN, range=(0, 1))
        for row in wide.rows:
            if row.verdict == "broken":
                point = wide.counterexample(row.index)
                assert torch.equal(point, point.round(decimals=1))
                assert point.numpy().tobytes() in target.answered
                assert row.distance is not None
                assert row.distance <= 0.1 + 1e-6
        assert wide.summary.broken > 0


def test_labels_alone_are_enough_and_are_all_that_is_used():
    with Target(answer=lambda scores: {"labels": ["abcd"[i] for i in scores.argmax(1)]}) as target:
        made = model(target, names=tuple("abcd"))
        record = robustly.audit(made, (X, Y), "linf:0.4", [noise(), *PLAN], range=(0, 1))
        assert record.model.access == "labels"
        assert record.summary.clean == 1.0
        assert record.summary.broken > 0
        assert any("square" in line and "labels" in line for line in record.not_tested)
        with pytest.raises(UsageError, match="square needs scores, the model grants labels"):
            robustly.audit(model(target, names=tuple("abcd")), (X, Y), THREAT, PLAN, range=(0, 1))


def test_a_random_endpoint_is_voted_on():
    draw = np.random.default_rng(0)
    with Target(model=lambda x: linear(x) + 0.05 * draw.normal(size=(len(x), CLASSES))) as target:
        record = robustly.audit(model(target), (X[:3], Y[:3]), "linf:0.2", [square(queries=8)], range=(0, 1))
        assert record.endpoint is not None
        assert record.endpoint.random
        assert any("the endpoint is random" in w for w in record.warnings)
        assert record.summary.broken > 0
        tight = model(target, limits={"queries": 18})
        record = robustly.audit(tight, (X[:3], Y[:3]), "linf:0.2", [square(queries=50)], range=(0, 1))
        assert max(r.queries for r in record.rows) <= 18
        assert record.summary.broken > 0  # the judge's votes were kept back


def test_a_target_that_changes_is_said_so_and_ends_the_run(tmp_path):
    seed = [0]
    fault = lambda n, x: seed.__setitem__(0, 1) if n == 60 else None  # noqa: E731
    with Target(fault, model=lambda x: linear(x, seed[0])) as target:
        record = audited(target, tmp_path / "run", check={"every": 20})
        assert record.status == "partial"
        assert "the target changed: after" in str(record.why_partial)
        assert record.endpoint is not None
        assert record.endpoint.changed == record.why_partial
        assert any(w.startswith("the target changed") for w in record.warnings)
        assert target.requests < 120


def test_a_failing_endpoint_ends_the_run_and_it_goes_on_later(tmp_path):
    down = [True]
    with Target() as target:
        whole = audited(target)
    with Target(lambda n, x: Reply(500) if n > 50 and down[0] else None) as target:
        cut = audited(target, tmp_path / "run", limits={"failures": 10})
        assert cut.status == "partial"
        assert "10 tries failed in a row" in str(cut.why_partial)
        down[0] = False
        record = audited(target, tmp_path / "run", limits={"failures": 10})
        assert record.status == "complete"
        assert [r.verdict for r in record.rows] == [r.verdict for r in whole.rows]


def test_an_example_that_is_never_answered_counts_neither_for_nor_against_the_model():
    bad = X[2].numpy()
    with Target(lambda n, x: Reply(500) if n > 12 and np.abs(x - bad).max() < 0.1 else None) as target:
        record = robustly.audit(
            model(target, limits={"retries": 1}, check={"inputs": 2, "times": 1}), (X, Y), THREAT, PLAN, range=(0, 1)
        )
        row = record.rows[2]
        assert row.verdict == "unknown"
        assert "unanswered" in row.flags
        assert "answered 500" in str(row.why)
        assert record.summary.broken > 0


def test_labels_that_the_data_does_not_know():
    with Target(answer=lambda scores: {"labels": ["fox"] * len(scores)}) as target:
        with pytest.raises(UsageError, match='the label "fox", which the data do not know: a, b, c, d'):
            robustly.audit(model(target, names=tuple("abcd")), (X, Y), THREAT, [noise()], range=(0, 1))
        with pytest.raises(UsageError, match="label 0 is 9, but the model has 4 classes"), Target() as other:
            robustly.audit(model(other), (X, Y * 0 + 9), THREAT, PLAN, range=(0, 1))


def test_a_mistake_in_the_settings_does_not_take_the_folder(tmp_path):
    with Target() as target:
        with pytest.raises(UsageError, match="nothing stands at"):
            audited(target, tmp_path / "run", answer={"scores": "wrong"})
        assert audited(target, tmp_path / "run").status == "complete"


def test_one_attack_within_its_queries():
    with Target() as target:
        found = robustly.attack(square(queries=500), model(target), X, Y, THREAT, queries=15, range=(0, 1))
        assert found.success.any()
        per_example = (target.inputs - 8) / len(X)  # without the checks
        assert per_example <= 15
        assert int(found.forward.max()) <= 15


def test_one_attack_on_a_random_failing_endpoint_stays_within_its_queries_and_says_so():
    """Retries of the first look, of the search and of the judge's votes are all on the example's account."""
    draws = np.random.default_rng(0)

    def noisy(x):
        return linear(x) + draws.normal(size=(len(x), CLASSES)) * 0.2

    def flaky(n, x):
        return Reply(503) if n % 3 == 2 else None

    with Target(flaky, model=noisy) as target:
        made = model(target, limits={"retries": 8})
        with pytest.warns(SoundnessWarning, match="the endpoint is random"):
            found = robustly.attack(square(queries=500), made, X, Y, "linf:0.3", queries=25, range=(0, 1))
        spent = [made.remote.spent_on(i) for i in range(len(X))]
        assert max(spent) <= 25
        assert found.forward.tolist() == spent
        assert any("random" in told for told in found.warnings)


def test_a_random_endpoint_needs_queries_for_the_votes():
    draws = np.random.default_rng(0)
    with Target(model=lambda x: linear(x) + draws.normal(size=(len(x), CLASSES)) * 0.2) as target:
        with pytest.raises(UsageError, match=r"11 times: a budget of 13 .* Give limits.queries = 14 or more"):
            audited(target, limits={"queries": 13})
        assert audited(target, limits={"queries": 14}).status == "complete"


def test_two_queries_are_enough_for_one_attack():
    with Target() as target:
        found = robustly.attack(noise(), model(target), X, Y, "linf:0.3", queries=2, range=(0, 1))
        assert int(found.forward.max()) <= 2


KILLED = """
import sys, torch
torch.set_num_threads(1)
import robustly
from robustly.adapters.endpoint.settings import Settings
from tests.auditing.test_endpoint import X, Y, THREAT, PLAN, limits_of
url, out, budget = sys.argv[1], sys.argv[2], int(sys.argv[3])
made = robustly.endpoint(Settings.model_validate({"url": url, "limits": limits_of(budget)}))
robustly.audit(made, (X, Y), THREAT, PLAN, range=(0, 1), out=out)
"""


def limits_of(budget: int) -> dict[str, object]:
    return {"wait": 0.02, "concurrency": 4, "budget": budget}


def test_kill_9_loses_no_paid_answer_and_changes_no_verdict(tmp_path):
    """A campaign is killed twice at the server's word; what was answered and stored is never asked again."""
    with Target() as target:
        whole = audited(target)
        uninterrupted = target.inputs
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)]), "OMP_NUM_THREADS": "1"}
    kill_at, running = [40, 75], []

    def fault(number: int, inputs: np.ndarray) -> None:
        if kill_at and number >= kill_at[0] and running:
            kill_at.pop(0)
            os.kill(running[0].pid, signal.SIGKILL)

    budget = uninterrupted + 60
    with Target(fault, delay=0.01) as target:
        for _ in range(2):
            command = [sys.executable, "-c", KILLED, target.url, str(tmp_path / "run"), str(budget)]
            running[:] = [subprocess.Popen(command, env=env)]
            assert running[0].wait(120) == -signal.SIGKILL
            time.sleep(0.1)
        running.clear()
        record = audited(target, tmp_path / "run", limits=limits_of(budget))
        assert record.status == "complete"
        assert [(r.verdict, r.counterexample) for r in record.rows] == [
            (r.verdict, r.counterexample) for r in whole.rows
        ]
        told = record.endpoint
        assert told is not None
        assert target.inputs <= told.queries <= budget
        asked_again = sum(target.answered.values()) - len(target.answered)
        in_flight = 2 * 2 * 4  # two kills; what four senders had on the way or just back
        assert asked_again <= told.checks + in_flight
        assert json.loads((tmp_path / "run" / "record.json").read_text())["endpoint"]["queries"] == told.queries
