"""robustly serve as its own process: it says where, answers, writes the endpoint file, and ends on a signal."""

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import contextmanager

import pytest

pytest.importorskip("uvicorn")
httpx2 = pytest.importorskip("httpx2")


@contextmanager
def process(folder, *words):
    """The running command, its address, and what it said until then."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SERVE_TOKEN": "marker-5e7"}
    started = subprocess.Popen(
        [sys.executable, "-m", "robustly", "serve", *words, "--port", "0"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = ""
        while "/predict" not in said:
            line = started.stdout.readline()
            assert line, said
            said += line
        yield started, re.search(r"http://127\.0\.0\.1:\d+", said)[0], said
    finally:
        started.kill()
        started.communicate()


def ends(started, number, code):
    """It stops soon after the signal, without a traceback."""
    begun = time.perf_counter()
    started.send_signal(number)
    rest, _ = started.communicate(timeout=30)
    assert time.perf_counter() - begun < 20
    assert started.returncode == code
    assert "Traceback" not in rest


def test_it_answers_and_ends_on_a_signal(here):
    with process(
        here, "net.py:build", "--data", "data.npz", "--token-env", "SERVE_TOKEN", "--write-endpoint", "e.toml"
    ) as (
        started,
        url,
        said,
    ):
        told = (here / "e.toml").read_text()
        settings = tomllib.loads(told)
        assert settings["url"] == f"{url}/predict"
        assert settings["headers"] == {"Authorization": "Bearer {secret}"}
        assert settings["secret"] == {"env": "SERVE_TOKEN"}
        assert settings["classes"] == 3
        assert "marker-5e7" not in told + said
        assert httpx2.get(f"{url}/health").json()["shape"] == [6]
        right = {"Authorization": "Bearer marker-5e7"}
        answer = httpx2.post(settings["url"], json={"inputs": [[0, 0.25, 0, 0, 0.5, 0]]}, headers=right)
        assert answer.json() == {"scores": [[0.0, 3.0, 0.0]], "labels": [1]}
        assert httpx2.post(settings["url"], json={"inputs": [[0] * 6]}).status_code == 401
        assert httpx2.post(settings["url"], json={"inputs": [[0] * 5]}, headers=right).status_code == 422
        ends(started, signal.SIGTERM, 143)


def test_options_reach_the_server(here):
    words = ("zoo:fashion_plain", "--label-only", "--429-rate", "1", "--retry-after", "-3", "--stateful-defence")
    with process(here, *words, "--on-detection", "nothing") as (started, url, _):
        health = httpx2.get(f"{url}/health").json()
        assert (health["answers"], health["shape"], health["range"]) == ("labels", [1, 28, 28], [0.0, 1.0])
        answer = httpx2.post(f"{url}/predict", json={"inputs": [[[[0.5] * 28] * 28]]})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "-3")
        assert httpx2.get(f"{url}/count").json()["faults"] == {"429": 1}
        ends(started, signal.SIGINT, 130)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("net.py:build", "--host", "0.0.0.0"), "--public"),
        (("net.py:build", "--port", "99999"), "65535"),
        (("net.py:build", "--fail-rate", "1.5"), "rate of fail"),
        (("net.py:build", "--429-rate", "0.6", "--drop-rate", "0.6"), "sum up to 1.2"),
        (("net.py:build", "--token-env", "NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE is not set"),
        (("net.py:build", "--stateful-defence"), "--data DATA"),
        (("net.py:build", "--data", "data.npz", "--stateful-defence", "--detector", "nearst"), 'mean "nearest"'),
        (("net.py:build", "--on-detection", "bann"), 'mean "ban"'),
        (("net.py:nothing",), "nothing"),
        (("net.py:build", "--write-endpoint", "."), "is a folder"),
    ],
)
def test_mistakes(here, run, words, said):
    answer = run("serve", "--port", "0", *words) if "--port" not in words else run("serve", *words)
    assert answer.code == 2
    assert said in answer.err
