"""robustly replay, show, report and compare on a finished run."""

import pytest

from robustly import read_record

from .conftest import AUDIT


@pytest.fixture
def done(here, run):
    assert run(*AUDIT, "linf:0.1", "-q", "--out", "a").code == 0
    return here / "a"


def test_a_counterexample_holds_on_the_audited_model(done, run):
    row = read_record(done).rows[1]
    said = run("replay", "a", "1")
    assert said.code == 0
    assert "it still holds" in said.out
    assert f"distance {row.distance:.6g}, inside the set" in said.out
    assert f"margin {row.adversarial_margin:.4g}" in said.out
    assert "another hash" not in said.out
    assert run("replay", "a", row.id[:9]).out == said.out


def test_it_no_longer_holds_on_a_model_that_reads_it_right(done, run):
    said = run("replay", "a", "1", "net.py:sure")
    assert said.code == 1
    assert "it no longer holds" in said.out
    assert "another hash" in said.out


def test_a_damaged_counterexample_is_a_run_error(done, run):
    row = read_record(done).rows[1]
    path = done / "counterexamples" / f"{row.counterexample}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    said = run("replay", "a", "1")
    assert said.code == 3
    assert "damaged" in said.err


def test_show_tells_the_run_and_one_example(done, run):
    said = run("show", "a")
    assert said.code == 0
    assert "87.5" in said.out
    said = run("show", str(done / "record.json"), "--example", "1")
    assert said.code == 0
    assert read_record(done).rows[1].id in said.out
    assert "broken" in said.out


def test_compare_counts_what_changed(done, run):
    assert run("audit", "net.py:other", "data.npz", "--threat", "linf:0.1", "-q", "--out", "b").code == 0
    said = run("compare", "a", "b")
    assert said.code == 0
    changed = sum(x.verdict != y.verdict for x, y in zip(read_record(done).rows, read_record("b").rows, strict=True))
    assert changed > 0
    assert f"{changed} with another verdict" in said.out


def test_report_is_written_again_from_the_record_alone(done, run):
    before = (done / "report.html").read_bytes()
    (done / "report.html").unlink()
    said = run("report", "a")
    assert said.out.strip().endswith("report.html")
    assert (done / "report.html").read_bytes() == before


def test_list_names_everything_registered(run):
    from robustly.core.specs import entries

    said = run("list")
    assert said.code == 0
    for kind in ("attack", "certifier", "loss", "start"):
        assert all(entry.name in said.out for entry in entries(kind))
    for word in ("zoo:fashion_plain", "standard", "edits:2", "arXiv:2003.01690"):
        assert word in said.out
