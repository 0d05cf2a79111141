"""Real processes, really stopped."""

import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from robustly import read_record

from .conftest import COUNTED

WORDS = (*COUNTED, "linf:0.1", "--batch", "6", "--out", "a run")


def start(here, words, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "robustly", *words],
        cwd=here,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_rows(path, count, process):
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if path.exists() and path.stat().st_size >= count:
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_at_once_says_how_to_go_on_and_the_resumed_run_ends_the_same(here, run, number, code):
    process = start(here, WORDS, SLOW="0.02", ROWS=str(here / "rows"))
    wait_for_rows(here / "rows", 130, process)  # in the attack, some batches committed
    process.send_signal(number)
    begun = time.monotonic()
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - begun < 5
    assert process.returncode == code
    assert f"stopped by {number.name}" in err
    assert "Traceback" not in err
    resume = err.splitlines()[-1].strip()
    assert resume.endswith(shlex.join(WORDS))
    assert "robust accuracy between" in out
    assert not (here / "a run" / "record.json").exists()
    assert run(*shlex.split(resume)[-len(WORDS) :], "-q").code == 0
    assert run(*WORDS[:-1], "whole", "-q").code == 0
    assert read_record(here / "a run").rows == read_record(here / "whole").rows


def test_a_second_signal_ends_the_process_on_the_spot(here):
    words = ("audit", "net.py:stubborn", "data.npz", "--threat", "linf:0.1", "-q")
    process = start(here, words, STUCK="1")
    assert process.stdout.readline() == "asked\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)  # the model swallows it
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=5)
    assert process.returncode == 143


def test_without_utf8_what_cannot_be_shown_becomes_a_question_mark(here):
    folder = here / "données"
    folder.mkdir()
    (here / "data.npz").rename(folder / "data.npz")
    process = start(
        here,
        ("audit", "net.py:build", "données/data.npz", "--threat", "linf:0.1", "--plan", "quick", "--out", "été"),
        PYTHONIOENCODING="ascii",
        LC_ALL="C.UTF-8",
    )
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.isascii()
    assert "robust accuracy between" in out
    assert "?t?" in out
    assert read_record(here / "été").summary.examples == 24
