"""Each mistake gets one line on the standard error, with what to write instead, and its exit code."""

import pytest

from .conftest import AUDIT, COUNTED

OK = (*AUDIT, "linf:0.1")
MISTAKES = [
    ((*OK, "--limt", "3"), "Did you mean --limit?"),
    (("audti", "a"), 'Did you mean "audit"?'),
    (("audit", "net.py:build"), "DATA"),
    (("audit", "net.py:build", "data.npz"), "--threat"),
    ((*AUDIT, "lnf:0.1"), 'Did you mean "linf"?'),
    ((*AUDIT, "linf:abc"), "0.1 or 8/255"),
    ((*AUDIT, "linf:-1"), ">= 0"),
    ((*AUDIT, "linf:nan"), "finite"),
    ((*AUDIT, "0.1"), "linf:8/255"),
    ((*OK, "--plan", "fsat"), 'Did you mean "fast"?'),
    ((*OK, "--plan", "none.toml"), "none.toml"),
    ((*OK, "--plan", "bad.toml"), 'Did you mean "steps"?'),
    ((*OK, "--plan", "twice.toml"), "not valid TOML"),
    ((*OK, "--eps", "0,,1"), "8/255"),
    ((*OK, "--eps", "-0.1"), "at least 0"),
    ((*OK, "--eps", "nan"), "not finite"),
    ((*OK, "--time", "5x"), "60s, 5m or 1h"),
    ((*OK, "--time", "0s"), "above 0"),
    ((*OK, "--until", "3"), "between 0 and 1"),
    ((*OK, "--fail-under", "40"), "0.40 for 40 %"),
    ((*OK, "--fail-under", "nan"), "0.40 for 40 %"),
    ((*OK, "--fail-under", "x"), "--fail-under"),
    ((*OK, "--limit", "0"), "from 1"),
    ((*OK, "--batch", "0"), "auto or a whole number"),
    ((*OK, "--range", "1"), "--range 0,1"),
    ((*OK, "--range", "1,0"), "the lower number first"),
    ((*OK, "--range", "0,0.5"), "range"),
    ((*OK, "--access", "gradient"), 'Did you mean "gradients"?'),
    ((*OK, "--device", "gpu"), "cpu"),
    ((*OK, "--twin", "fast"), "twin"),
    ((*OK, "--classes", "1"), "at least 2 classes"),
    ((*OK, "--weights", "no.safetensors"), "no.safetensors"),
    ((*OK, "--junit", "."), "is a folder"),
    (("audit", "net.py:build", "d\udcff.npz", "--threat", "linf:0.1"), "not valid UTF-8"),
    ((*OK, "--out", "net.py"), "net.py"),
    (("audit", "net.py:training", "data.npz", "--threat", "linf:0.1"), "eval()"),
    (("audit", "net.py:biuld", "data.npz", "--threat", "linf:0.1"), 'Did you mean "build"?'),
    (("audit", "zoo:fashion_plan", "zoo:fashion", "--threat", "linf:0.1"), 'Did you mean "fashion_plain"?'),
    (("audit", "net.py:build", "nothing.npz", "--threat", "linf:0.1"), "nothing.npz"),
    (("audit", "net.py:build", "data.npz", "--threat", "edits:2"), "text"),
    (("attack", "pgdd", "net.py:build", "data.npz", "--threat", "linf:0.1"), 'Did you mean "pgd"?'),
    (
        ("attack", "pgd", "net.py:build", "data.npz", "--threat", "linf:0.1", "--set", "stepps=3"),
        'Did you mean "steps"?',
    ),
    (("attack", "pgd", "net.py:build", "data.npz", "--threat", "linf:0.1", "--set", "steps"), "--set steps=20"),
    (("attack", "pgd", "net.py:build", "data.npz", "--threat", "linf:0.1", "--set", "steps=0"), "at least 1"),
    (("attack", "pgd", "net.py:build", "data.npz", "--threat", "linf:0.1", "--set", "loss=marign"), "margin"),
    (("attack", "greedy", "net.py:build", "data.npz", "--threat", "linf:0.1"), "Attacks that can: "),
    (("attack", "pgd", "net.py:build", "data.npz", "--threat", "linf:0.1", "--access", "scores"), "needs gradients"),
    (("attack", "pgd", "net.py:build", "data.npz", "--threat", "linf:0.1", "--out", "x.csv"), ".npz"),
    (("plan", "net.py:build", "data.npz", "--threat", "linf:0.1", "--plan", "quik"), 'Did you mean "quick"?'),
    (("show", "nowhere"), "nowhere"),
    (("report", "nowhere"), "nowhere"),
    (("compare", "nowhere", "nowhere"), "nowhere"),
    (("replay", "nowhere", "3"), "nowhere"),
    (("list", "atacks"), "attacks"),
    ((*AUDIT[:3],), "missing --threat, say --threat linf:8/255. See"),
    ((*OK, "--limt", "3"), "Did you mean --limit? See"),
    (("attack", "pgd", *AUDIT[1:], "linf:0.1", "--target", "3"), "from 0 to 2"),
    (("attack", "pgd", *AUDIT[1:], "linf:0.1", "--set", "steps=abc"), "steps"),
]


@pytest.mark.parametrize(("words", "hint"), MISTAKES, ids=lambda v: " ".join(v[-3:]) if isinstance(v, tuple) else None)
def test_a_mistake_is_refused_with_the_remedy(here, run, words, hint):
    (here / "bad.toml").write_text('[[stage]]\nattack = "pgd"\nstep = 3\n')
    (here / "twice.toml").write_text('[[stage]]\nattack = "pgd"\nsteps = 3\nsteps = 4\n')
    said = run(*words)
    assert said.code == 2
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert hint in errors[0]
    assert "Traceback" not in said.err
    assert not list(here.glob("**/record.json"))


def test_the_traceback_comes_only_with_verbose(here, run):
    assert "Traceback" in run(*AUDIT, "linf:0.1", "--plan", "fsat", "-v").err


def test_nothing_in_an_error_is_markup_or_commands_the_terminal(here, run):
    said = run(*AUDIT, "[red]x[/red]\x1b[31m\u202e")
    assert said.code == 2
    assert "[red]x[/red]" in said.err
    assert "\x1b" not in said.err
    assert "\u202e" not in said.err
    assert "⟨U+001B⟩" in said.err


def test_code_of_the_user_that_leaves_the_process_is_a_run_error(here, run):
    said = run("audit", "net.py:leaving", "data.npz", "--threat", "linf:0.1", "-q")
    assert said.code == 3
    assert "exit(7)" in said.err


def test_a_folder_that_cannot_be_written_is_refused_before_any_pass(here, run, monkeypatch):
    monkeypatch.setenv("ROWS", str(here / "rows"))
    (here / "file").write_text("")
    assert run(*COUNTED, "linf:0.1", "--out", "file/run").code == 2
    assert run(*COUNTED, "linf:0.1", "--junit", "file/x.xml").code == 2
    assert not (here / "rows").exists()


def test_records_of_other_data_or_threats_are_not_compared(here, run):
    run(*AUDIT, "linf:0.1", "-q", "--plan", "quick", "--out", "a")
    run(*AUDIT, "linf:0.2", "-q", "--plan", "quick", "--out", "b")
    said = run("compare", "a", "b")
    assert said.code == 2
    assert "threat" in said.err


def test_examples_that_are_not_there(here, run):
    run(*AUDIT, "linf:0.1", "-q", "--plan", "quick", "--out", "a")
    assert "0 to 23" in run("show", "a", "--example", "99").err
    said = run("replay", "a", "23")
    assert said.code == 2
    assert "it has no counterexample. The first broken ones: 0, " in said.err
