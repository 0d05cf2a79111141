"""Nothing lost: killed at any moment, a run goes on from its last committed batch and ends the same."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from torch import nn

from robustly import Linf, apgd, audit, pgd, read_record, square
from robustly.auditing.plan import read_plan
from robustly.core.errors import RunError, UsageError

SERVER = textwrap.dedent(
    """
    import os, sys
    import torch
    torch.set_num_threads(1)
    from robustly.auditing.audit import audit
    from robustly import apgd, square, interval, Linf
    import robustly.zoo.load as zoo, robustly.attacks, robustly.certify, robustly.losses, robustly.steps

    def work(out, log):
        net, (x, y, _) = zoo.network("fashion_adversarial"), zoo.images("fashion")
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

        def call(z):
            os.write(handle, b"x" * len(z))  # every row the model sees, also those of a process that dies
            return net(z)

        audit(call, (x[:40], y[:40]), Linf(0.1), plan=[apgd(steps=6), square(60)], out=out, batch=4, seed=1)

    for line in sys.stdin:
        out, log = line.rstrip("\\n").split("\\t")
        child = os.fork()
        if child == 0:
            os.setsid()
            work(out, log)
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)
    """
)


class Forks:
    """A process that has loaded everything and forks a real audit process on demand, so that 20 starts are cheap."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, out, log):
        self.process.stdin.write(f"{out}\t{log}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def status(self):
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


@pytest.fixture
def forks():
    made = Forks()
    yield made
    made.close()


def plain(folder):
    """The record without what may differ: clocks."""
    record = json.loads((folder / "record.json").read_text())
    record["summary"].pop("seconds")
    record.pop("started")
    for stage in record["stages"]:
        stage.pop("seconds")
    return record


def test_twenty_kills_change_nothing(tmp_path, forks):
    began = time.monotonic()
    forks.start(tmp_path / "whole", tmp_path / "whole.log")
    assert forks.status() == 0
    length = time.monotonic() - began
    whole = plain(tmp_path / "whole")
    paid = os.path.getsize(tmp_path / "whole.log")
    assert paid == whole["summary"]["forward"]

    moments, kills, starts = random.Random(7), 0, 0
    out, log = tmp_path / "killed", tmp_path / "killed.log"
    while kills < 20:
        starts += 1
        assert starts < 200
        child = forks.start(out, log)
        time.sleep(moments.uniform(0.0, length / 6))
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        if forks.status() == 0:  # it had finished: start over, so that the kills keep coming at all stages
            assert plain(out) == whole
            out, log = tmp_path / f"killed{kills}", tmp_path / f"killed{kills}.log"
        else:
            kills += 1
    forks.start(out, log)
    assert forks.status() == 0
    assert plain(out) == whole
    for name in (out / "counterexamples").iterdir():
        assert (
            name.name.startswith(".")
            or name.read_bytes() == (tmp_path / "whole" / "counterexamples" / name.name).read_bytes()
        )
    batch = 4 * (61 + 8)  # most rows the model sees for one batch in flight: its square stage, and its judge
    assert os.path.getsize(log) <= paid + 20 * batch


@pytest.fixture
def small():
    net = nn.Linear(6, 3).eval()
    with torch.no_grad():
        net.weight.copy_(torch.arange(18).reshape(3, 6).sin())
        net.bias.zero_()
    x = torch.rand(30, 6, generator=torch.Generator().manual_seed(0))
    return net, x, net(x).argmax(1)


def run(small, out, **changes):
    net, x, y = small
    arguments = {"threat": Linf(0.1), "plan": [pgd(5), square(20)], "seed": 0, "batch": 7, **changes}
    return audit(net, (x, y), out=out, **arguments)


def test_a_finished_run_is_not_run_again(small, tmp_path):
    first = run(small, tmp_path)
    small[0].register_forward_hook(lambda *_: pytest.fail("the model was asked"))
    again = run(small, tmp_path)
    assert again.rows == first.rows
    assert again.summary.forward == first.summary.forward


def test_a_limit_ends_a_run_that_then_goes_on(small, tmp_path):
    part = run(small, tmp_path / "a", time=1e-9)
    assert part.status == "partial"
    assert run(small, tmp_path / "a").rows == run(small, tmp_path / "b").rows
    assert read_record(tmp_path / "a").status == "complete"


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"threat": Linf(0.2)}, "threat"),
        ({"seed": 1}, "seed"),
        ({"plan": [apgd(5)]}, "plan"),
        ({"batch": 3}, "batch"),
        ({"eps": [0.3]}, "sizes"),
        ({"limit": 20}, "data"),
    ],
)
def test_other_arguments_are_refused_and_named(small, tmp_path, changes, names):
    run(small, tmp_path)
    with pytest.raises(UsageError, match=f"other arguments: {names}: .* -> ") as refused:
        run(small, tmp_path, **changes)
    assert refused.value.args[0].count("->") == 1


@pytest.mark.parametrize("line", ["after_hit = true", "original = true", "random = false", 'only = ["linf"]'])
def test_a_stage_for_other_examples_is_another_plan(small, tmp_path, line):
    stages = '[[stage]]\nattack = "pgd"\nsteps = 5\n[[stage]]\nattack = "noise"\ntries = 2\n'
    run(small, tmp_path, plan=read_plan(stages, "own"))
    with pytest.raises(UsageError, match="other arguments: plan"):
        run(small, tmp_path, plan=read_plan(stages + line + "\n", "own"))


def test_another_model_is_refused(small, tmp_path):
    run(small, tmp_path)
    with torch.no_grad():
        small[0].bias += 0.25
    with pytest.raises(UsageError, match="model: "):
        run(small, tmp_path)


def test_a_folder_in_use_is_refused(small, tmp_path):
    from robustly.auditing.store import Store

    held = Store(tmp_path)
    with pytest.raises(UsageError, match=f"another process is running .*pid {os.getpid()}"):
        run(small, tmp_path)
    held.close()
    run(small, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(small, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        run(small, file / "run")


def test_a_damaged_store_is_named_and_left_alone(small, tmp_path):
    run(small, tmp_path)
    path = tmp_path / "run.sqlite"
    content = bytearray(path.read_bytes())
    content[100:3000] = os.urandom(2900)
    path.write_bytes(content)
    for extra in ("-wal", "-shm"):
        (tmp_path / f"run.sqlite{extra}").unlink(missing_ok=True)
    with pytest.raises(RunError, match="damaged"):
        run(small, tmp_path)
    assert path.read_bytes() == bytes(content)
    assert read_record(tmp_path).summary.examples == 30


def test_a_torn_counterexample_is_set_aside_and_computed_again(small, tmp_path):
    first = run(small, tmp_path)
    torn = next(iter(sorted((tmp_path / "counterexamples").iterdir())))
    torn.write_bytes(torn.read_bytes()[:50])
    again = run(small, tmp_path)
    assert again.rows == first.rows
    assert any("computed again" in w for w in again.warnings)
    index = next(r.index for r in again.rows if r.counterexample == torn.name.removesuffix(".safetensors"))
    assert again.counterexample(index) is not None


def test_a_store_of_a_newer_layout_is_refused(small, tmp_path):
    import sqlite3

    run(small, tmp_path)
    db = sqlite3.connect(tmp_path / "run.sqlite")
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(UsageError, match="newer robustly"):
        run(small, tmp_path)


def test_a_full_disk_keeps_what_was_committed(small, tmp_path, monkeypatch):
    import robustly.core.points as points

    writes = [0]
    real = os.fsync

    def full(handle):
        writes[0] += 1
        if writes[0] > 3:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(points.os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        run(small, tmp_path)
    monkeypatch.undo()
    assert run(small, tmp_path).rows == run(small, tmp_path / "other").rows
