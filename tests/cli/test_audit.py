"""robustly audit from its words to its exit code."""

import re
import shlex
from xml.etree import ElementTree

import pytest

from robustly import read_record
from robustly.cli.audit import default_folder

from .conftest import AUDIT, COUNTED

SENTENCE = r"robust accuracy between \d+\.\d % certified and \d+\.\d % attacked, \d+ undecided"


def rows_seen(here):
    return len((here / "rows").read_text())


def test_plain_output_has_the_bracket_and_says_where_things_are(here, run):
    said = run(*AUDIT, "linf:0.1")
    assert said.code == 0
    assert said.err == ""
    assert len(re.findall(SENTENCE, said.out)) >= 2  # while it runs, and at the end
    assert "\x1b" not in said.out
    folder = here / "runs" / "net.py-build-data.npz-linf-0.1"
    for name in ("record.json", "report.html"):
        assert (folder / name).exists()
        assert f"runs/net.py-build-data.npz-linf-0.1/{name}" in said.out
    record = read_record(folder)
    assert record.command == shlex.join(["robustly", *AUDIT, "linf:0.1"])
    assert record.model.source == "net.py:build"
    # by construction three examples are nearer to the boundary than 0.1; for a linear model the bounds are exact
    assert record.summary.broken == 3
    assert record.summary.certified_count == 21


def test_quiet_is_only_the_final_lines(here, run):
    said = run(*AUDIT, "linf:0.1", "--plan", "quick", "-q")
    lines = said.out.splitlines()
    assert [line.split()[0] for line in lines] == ["robust", "record", "report"]


def test_the_same_words_again_pay_nothing_and_end_the_same(here, run, monkeypatch):
    monkeypatch.setenv("ROWS", str(here / "rows"))
    run(*COUNTED, "linf:0.1", "-q")
    paid, record = rows_seen(here), read_record(here / "runs/net.py-counted-data.npz-linf-0.1-plan.toml")
    assert paid > 24 * 20
    assert run(*COUNTED, "linf:0.1", "-q").code == 0
    assert rows_seen(here) - paid <= 4  # the border looks at two examples again
    again = read_record(here / "runs/net.py-counted-data.npz-linf-0.1-plan.toml")
    assert again.rows == record.rows


def test_other_words_in_the_same_folder_are_refused_and_the_difference_is_named(here, run):
    run(*AUDIT, "linf:0.1", "-q", "--out", "a")
    said = run(*AUDIT, "linf:0.123", "-q", "--out", "a", "--seed", "3")
    assert said.code == 2
    assert "threat: 'linf:0.1' -> 'linf:0.123'" in said.err
    assert "seed: 0 -> 3" in said.err
    assert "--out" in said.err


@pytest.mark.parametrize(("eps", "least", "code"), [("0.01", "0.4", 0), ("0.9", "0.4", 1), ("0.1", "0.8", 4)])
def test_the_gate_decides_the_exit_code(here, run, eps, least, code):
    said = run(*AUDIT, f"linf:{eps}", "-q", "--fail-under", least)
    assert said.code == code
    assert f"gate {['passed', 'failed', '', '', 'inconclusive'][code]}: " in said.out


def test_a_model_that_answers_nan_fails_the_gate_and_is_never_robust(here, run):
    said = run(
        "audit", "net.py:nan", "data.npz", "--threat", "linf:0.1", "--plan", "plan.toml", "-q", "--fail-under", "0.01"
    )
    assert said.code == 1
    assert "between 0.0 % certified and 0.0 % attacked" in said.out


def test_a_time_limit_ends_partial_and_the_same_words_without_it_finish(here, run):
    said = run(*AUDIT, "linf:0.1", "-q", "--time", "0.000001s")
    assert said.code == 4
    assert "partial: the time limit" in said.out
    assert shlex.join([*AUDIT, "linf:0.1", "-q", "--time", "0.000001s"]) in said.out
    assert run(*AUDIT, "linf:0.1", "-q").code == 0
    assert read_record(here / "runs/net.py-build-data.npz-linf-0.1").status == "complete"


def test_until_ends_when_the_bracket_is_narrow(here, run):
    said = run(*AUDIT, "linf:0.1", "-q", "--until", "1")
    assert said.code == 4
    assert "the bracket is 1.000 wide" in said.out
    assert said.out.split("To go on, run this:\n")[1].splitlines()[0].endswith(shlex.join([*AUDIT, "linf:0.1", "-q"]))


def test_a_sweep_reads_fractions_and_its_curve_falls(here, run):
    assert run(*AUDIT, "linf:0.1", "-q", "--eps", "0,0.05,8/255,0.2").code == 0
    sweep = read_record(here / "runs/net.py-build-data.npz-linf-0.1").sweep
    assert [point.eps for point in sweep] == [0, 8 / 255, 0.05, 0.1, 0.2]
    assert [point.broken for point in sweep] == sorted(point.broken for point in sweep)
    assert sweep[0].broken == 0 < sweep[-1].broken


def test_junit_is_xml_with_a_case_an_example(here, run):
    said = run(*AUDIT, "linf:0.1", "-q", "--junit", "out/junit.xml")
    tree = ElementTree.parse(here / "out" / "junit.xml")
    assert len(list(tree.iter("testcase"))) == 24
    assert len(list(tree.iter("failure"))) == 3
    assert "junit   out/junit.xml" in said.out


def test_batch_and_limit_and_range_and_access_reach_the_audit(here, run):
    said = run(*AUDIT, "linf:0.1", "-q", "--batch", "5", "--limit", "7", "--range", "-1,2", "--access", "scores")
    assert said.code == 0
    record = read_record(here / "runs/net.py-build-data.npz-linf-0.1-first-7")
    assert len(record.rows) == 7
    assert record.model.domain == (-1, 2)
    assert record.model.access == "scores"


def test_paths_with_spaces_and_other_alphabets(here, run):
    folder = here / "mes données été"
    folder.mkdir()
    for name in ("net.py", "data.npz"):
        (here / name).rename(folder / name)
    model, data = (f"mes données été/{name}" for name in ("net.py:build", "data.npz"))
    said = run("audit", model, data, "--threat", "linf:0.1", "--out", "un dossier", "--plan", "quick")
    assert said.code == 0
    command = read_record(here / "un dossier").command
    assert shlex.split(command)[2] == model


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("zoo:fashion_plain", "zoo:fashion", "linf:8/255"), "fashion_plain-fashion-linf-8-255"),
        (("a b/net.py:make", "../x/data.npz", "linf:8/255&l2:1"), "net.py-make-data.npz-linf-8-255-l2-1"),
        (("/m/été.onnx", "images/", "l0:10"), "t-.onnx-images-l0-10"),
        (("..", "...", "edits:2"), "x-x-edits-2"),
    ],
)
def test_the_default_folder_is_a_plain_name(words, name):
    assert default_folder(*words).as_posix() == f"runs/{name}"
