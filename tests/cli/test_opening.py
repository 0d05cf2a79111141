"""Run folders that are interrupted, foreign, finished or piped away."""

import os
import shlex
import subprocess
import sys

import pytest

from robustly import read_record

from .conftest import AUDIT

SAVE = """
import torch
from safetensors.torch import save_file
from net import build, other

save_file(other().state_dict(), "other.safetensors")
"""


def test_replay_takes_the_weights_of_the_audit_and_says_when_they_are_gone(here, run):
    subprocess.run([sys.executable, "-c", SAVE], cwd=here, check=True, timeout=60)
    assert run(*AUDIT, "linf:0.1", "-q", "--out", "a", "--plan", "quick", "--weights", "other.safetensors").code == 0
    broken = next((r for r in read_record(here / "a").rows if r.counterexample), None)
    if broken is None:
        assert (
            run(*AUDIT, "linf:0.9", "-q", "--out", "b", "--plan", "quick", "--weights", "other.safetensors").code == 0
        )
    folder = "a" if broken else "b"
    broken = next(r for r in read_record(here / folder).rows if r.counterexample)
    said = run("replay", folder, str(broken.index))
    assert said.code == 0
    assert "another hash" not in said.out
    (here / "other.safetensors").unlink()
    said = run("replay", folder, str(broken.index))
    assert said.code == 2
    assert "other.safetensors, but that file is gone" in said.err
    assert "--weights" in said.err


@pytest.mark.parametrize("words", [("show", "a"), ("report", "a"), ("replay", "a", "1"), ("compare", "a", "a")])
def test_an_interrupted_run_is_told_as_such(here, run, words):
    run(*AUDIT, "linf:0.1", "-q", "--out", "a", "--plan", "quick")
    (here / "a" / "record.json").unlink()
    said = run(*words)
    assert said.code == 2
    assert "was interrupted" in said.err
    assert "Start the same audit again" in said.err


def test_a_folder_with_files_that_are_not_ours_is_refused(here, run):
    (here / "mine").mkdir()
    assert run(*AUDIT, "linf:0.1", "-q", "--out", "mine", "--plan", "quick").code == 0
    (here / "photos").mkdir()
    (here / "photos" / "a.png").write_text("")
    said = run(*AUDIT, "linf:0.1", "-q", "--out", "photos")
    assert said.code == 2
    assert "not empty: it holds a.png" in said.err
    assert [path.name for path in (here / "photos").iterdir()] == ["a.png"]


def test_a_finished_run_says_that_nothing_was_run_and_a_first_one_does_not(here, run):
    for words in (AUDIT, (*AUDIT[:1], "net.py:counted", *AUDIT[2:])):
        assert "already complete" not in run(*words, "linf:0.1", "--plan", "quick").out
        assert "already complete: nothing was run" in run(*words, "linf:0.1", "--plan", "quick").out


def test_other_data_are_named_by_short_hashes_with_the_reason(here, run):
    run(*AUDIT, "linf:0.1", "-q", "--plan", "quick", "--out", "a")
    said = run(*AUDIT, "linf:0.1", "-q", "--plan", "quick", "--out", "a", "--limit", "5")
    assert said.code == 2
    assert "--limit is another one" in said.err
    assert max(map(len, said.err.replace("-", " ").split())) < 64


def test_another_plan_or_limit_gets_its_own_folder(here, run):
    for more in ((), ("--plan", "quick"), ("--limit", "5"), ("--plan", "plan.toml", "--limit", "5")):
        assert run(*AUDIT, "linf:0.1", "-q", *more).code == 0
    name = "net.py-build-data.npz-linf-0.1"
    assert sorted(path.name for path in (here / "runs").iterdir()) == [
        name, f"{name}-first-5", f"{name}-plan.toml-first-5", f"{name}-quick",
    ]  # fmt: skip


def test_quiet_keeps_the_warnings_on_the_standard_error(here, run):
    said = run("audit", "net.py:nan", "data.npz", "--threat", "linf:0.1", "--plan", "plan.toml", "-q")
    record = read_record(next((here / "runs").iterdir()))
    assert record.warnings
    assert all(f"warning: {warning}" in said.err for warning in record.warnings)


def test_the_first_lines_after_a_run_say_how_the_inputs_are_read(here, run):
    said = run(*AUDIT, "linf:0.1", "--plan", "quick")
    assert "\ninput range [0, 1], detected" in said.out


def test_nobody_reading_ends_no_audit(here):
    done = subprocess.run(
        f"{shlex.join([sys.executable, '-m', 'robustly', *AUDIT, 'linf:0.1', '--out', 'a'])} 2>err | true; "
        "echo ${PIPESTATUS[0]}",
        shell=True, executable="/bin/bash", cwd=here, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == "0"
    assert (here / "err").read_text() == ""
    assert (here / "a" / "report.html").exists()
    assert read_record(here / "a").status == "complete"


def test_names_of_classes_reach_the_record(here, run):
    assert run(*AUDIT, "linf:0.1", "-q", "--plan", "quick", "--classes", "cat,dog,bird", "--out", "a").code == 0
    assert read_record(here / "a").data.classes == ("cat", "dog", "bird")
    assert "cat,dog" in run(*AUDIT, "linf:0.1", "--classes", "cat").err
