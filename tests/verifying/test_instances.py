"""Lists of properties: each with its time, kept as they are done, and gone on with."""

import csv

import pytest

from robustly.core.errors import UsageError
from robustly.verifying.instances import exit_of, read_instances, read_outcomes, verify_all

from .onnx_nets import box_property, perceptron

pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")


@pytest.fixture
def folder(tmp_path):
    perceptron(tmp_path / "net.onnx", [2, 6, 1], 0)
    (tmp_path / "never.vnnlib").write_text(box_property(0, 1, 2, 1, "(>= Y_0 1e3)"))
    (tmp_path / "always.vnnlib").write_text(box_property(0, 1, 2, 1, "(<= Y_0 1e3)"))
    (tmp_path / "wrong.vnnlib").write_text(box_property(0, 1, 3, 1, "(<= Y_0 1e3)"))
    (tmp_path / "list.csv").write_text(
        "net.onnx,never.vnnlib,10\nnet.onnx,always.vnnlib,10\nnet.onnx,wrong.vnnlib,10\n"
    )
    return tmp_path


def test_a_list_is_done_kept_and_gone_on_with(folder):
    instances, out = read_instances(folder / "list.csv"), folder / "out" / "results.csv"
    first = verify_all(instances[:2], out)
    assert [o.verdict for o in first] == ["unsat", "sat"]
    seen = []
    done = verify_all(instances, out, lambda number, outcome, kept: seen.append((number, outcome.verdict, kept)))
    assert seen == [(0, "unsat", True), (1, "sat", True), (2, "error", False)]
    assert "about 3 inputs" in done[2].why
    assert read_outcomes(out) == done
    assert (out.parent / done[1].counterexample).read_text().startswith("sat\n((X_0 ")
    with open(out) as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == ["unsat", "sat", "error"]
    verify_all(instances, out, lambda number, outcome, kept: seen.append(kept))
    assert seen[-3:] == [True, True, False]  # what raised is tried again
    other = read_instances(folder / "list.csv", 5)
    assert {o.timeout for o in verify_all(other[:1], out)} == {5}
    assert [o.timeout for o in read_outcomes(out)] == [
        5,
        10,
        10,
    ]  # another limit is another result; what raised is gone


def test_what_decides_over_a_list():
    assert exit_of(iter(["unsat", "sat", "unknown"])) == "sat"
    assert exit_of(iter(["unsat", "unknown"])) == "unknown"
    assert exit_of(iter(["sat", "error"])) == "error"
    assert exit_of(iter(["unsat"])) == "unsat"


def test_lists_with_a_header_and_packed_files(folder):
    import gzip

    (folder / "h.csv").write_text("onnx,vnnlib,timeout_s,expected\n\nnet.onnx,packed.vnnlib,7,unsat\n")
    (folder / "packed.vnnlib.gz").write_bytes(gzip.compress((folder / "never.vnnlib").read_bytes()))
    (one,) = read_instances(folder / "h.csv")
    assert one.timeout == 7
    assert one.files[1].name == "packed.vnnlib.gz"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists nothing"),
        ("net.onnx,p.vnnlib\n", "line 1: network,property,seconds"),
        ("net.onnx,p.vnnlib,soon\n", "'soon' is no number of seconds"),
        ("net.onnx,p.vnnlib,-1\n", "no number of seconds above 0"),
    ],
)
def test_lists_that_are_none(tmp_path, text, words):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UsageError, match=words):
        read_instances(tmp_path / "list.csv")


def test_results_of_something_else_are_not_overwritten(folder):
    (folder / "mine.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="holds no results of this command"):
        verify_all(read_instances(folder / "list.csv"), folder / "mine.csv")
    assert (folder / "mine.csv").read_text() == "a,b\n1,2\n"
