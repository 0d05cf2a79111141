"""robustly audit https://... : from the settings file to the report, with the secret nowhere on the way."""

import logging
import re

import numpy as np
import pytest
from tests.adapters.endpoint.server import SIZE, Reply, Target, linear

from robustly import read_record
from robustly.cli.audit import default_folder

MARKER = "marker-3f9a1c"
X = np.random.default_rng(5).uniform(0.1, 0.9, (8, SIZE)).astype(np.float32)
SETTINGS = """
headers = { Authorization = "Bearer {secret}", X-Plan = "a" }
names = ["T-shirt", "<b>bag", "shoe", "dress"]
[secret]
env = "ROBUSTLY_TEST_SECRET"
[limits]
budget = 400
wait = 0.02
price = 0.01
currency = "EUR"
"""
PLAN = '[[stage]]\nattack = "square"\nqueries = 20\n'


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBUSTLY_TEST_SECRET", MARKER)
    (tmp_path / "endpoint.toml").write_text(SETTINGS)
    (tmp_path / "plan.toml").write_text(PLAN)
    np.savez(tmp_path / "data.npz", x=X, y=linear(X).argmax(1))
    return tmp_path


def words(target, *more):
    settings = ("--endpoint", "endpoint.toml", "--plan", "plan.toml", "--range", "0,1")
    return ("audit", target.url, "data.npz", "--threat", "linf:0.1", *settings, *more)


def test_an_audit_of_an_address(there, run, caplog):
    caplog.set_level(logging.DEBUG)
    echo = Reply(500, f"you are {MARKER}".encode())
    with Target(lambda n, x: echo if n % 10 == 0 else None) as target:
        said = run(*words(target))
        assert said.code == 0, said.err
        assert target.seen[0]["authorization"] == f"Bearer {MARKER}"
        folder = default_folder(target.url, "data.npz", "linf:0.1", "plan.toml")
        record = read_record(folder)
        told = record.endpoint
        assert told is not None
        assert (told.queries, told.budget, told.settings) == (target.inputs, 400, "endpoint.toml")
        assert told.retries > 0
        assert re.search(
            r"asked http://127.* queries of a budget of 400, \d+ of them retries and \d+ checks; \d+\.\d\d EUR",
            said.out,
        )
        assert re.search(r"\d+ queries, \d+ left, [\d.]+ EUR spent; \d+ broken", said.out)
        assert record.model.source == target.url
        page = (folder / "report.html").read_text()
        assert "What the queries bought" in page
        assert "of a budget of 400" in page
        assert "<b>bag" not in page
        index = next(r.index for r in record.rows if r.verdict == "broken")
        again = run("replay", str(folder), str(index))
        assert again.code == 0, again.err
        same = run(*words(target))
        assert same.code == 0
        assert read_record(folder).rows == record.rows
        log = caplog.text
        outputs = [said.out, said.err, again.out, again.err, same.out, same.err, log]
        assert "HTTP Request" in log
        written = {p: p.read_bytes() for p in there.rglob("*") if p.is_file()}
    assert len(written) > 5
    assert not [path for path, content in written.items() if MARKER.encode() in content]
    assert not [text for text in outputs if MARKER in text]


def test_a_refusal_is_one_message_without_the_secret(there, run):
    with Target(lambda n, x: Reply(401, f"bad key {MARKER}".encode())) as target:
        said = run(*words(target, "-v"))
        assert said.code == 2
        assert "the endpoint answered 401 X: bad key [secret] (is the secret right?)" in said.err
        assert MARKER not in said.out + said.err
        assert target.requests == 1


def test_what_is_wrong_on_the_command_line(there, run):
    cases = [
        (("audit", "net.py:build", "data.npz", "--threat", "linf:0.1", "--endpoint", "endpoint.toml"), "an address"),
        (("attack", "square", "https://h/p", "data.npz", "--threat", "linf:0.1"), "keeps no answers"),
        (("audit", f"https://h/p?key={MARKER}", "data.npz", "--threat", "linf:0.1"), "may be secret"),
        (("audit", f"https://me:{MARKER}@h/p", "data.npz", "--threat", "linf:0.1"), "may be secret"),
        (
            ("audit", "https://h/p", "data.npz", "--threat", "linf:0.1", "--endpoint", "no.toml"),
            "cannot read the endpoint",
        ),
        (("audit", "https://no-such-host.invalid/p", "data.npz", "--threat", "linf:0.1"), "is not known"),
    ]
    for given, told in cases:
        said = run(*given)
        assert said.code == 2, given
        assert told in said.err
        assert MARKER not in said.err + said.out
    assert not list(there.rglob("record.json"))


def test_the_end_of_the_budget_is_told_and_the_same_words_go_on(there, run):
    (there / "endpoint.toml").write_text(SETTINGS.replace("400", "50"))
    with Target() as target:
        said = run(*words(target, "--out", "run"))
        assert "partial: the query budget ended. To go on, give limits.budget more" in " ".join(said.out.split())
        assert target.inputs <= 50
        assert said.code == 4
        (there / "endpoint.toml").write_text(SETTINGS)
        assert run(*words(target, "--out", "run")).code == 0
        assert read_record("run").status == "complete"


def test_the_folder_of_an_address():
    assert str(default_folder("https://api.example.com/v1/predict", "zoo:fashion", "linf:0.1")) == (
        "runs/api.example.com-v1-predict-fashion-linf-0.1"
    )
