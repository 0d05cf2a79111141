"""robustly verify: what is printed, written and returned."""

import pytest

pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")


@pytest.fixture
def files(here):
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, [1, 2])],
        [value("y", TensorProto.FLOAT, [1, 1])],
        [numpy_helper.from_array(np.ones((2, 1), np.float32), "w")],
    )
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), "net.onnx")
    head = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)\n"
    head += "".join(f"(assert (>= X_{k} 0))(assert (<= X_{k} 1))\n" for k in (0, 1))
    (here / "never.vnnlib").write_text(head + "(assert (>= Y_0 2.5))")
    (here / "always.vnnlib").write_text(head + "(assert (>= Y_0 1.5))")
    (here / "bad.vnnlib").write_text(head + "(assert (>= Y_1 1.5))")
    (here / "empty.vnnlib").write_text(head + "(assert (>= X_0 3))(assert (>= Y_0 1.5))")
    (here / "list.csv").write_text("net.onnx,never.vnnlib,5\nnet.onnx,always.vnnlib,5\n")
    return here


def test_a_property_that_holds(files, run):
    done = run("verify", "net.onnx", "never.vnnlib", "-v")
    assert done.code == 0
    assert done.out == "unsat\n"
    assert "proven by interval" in done.err


def test_a_property_that_is_violated(files, run):
    done = run("verify", "net.onnx", "always.vnnlib", "--out", "found.txt", "--timeout", "5s")
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0] == "sat"
    assert lines[1].startswith("((X_0 ")
    assert lines[2].startswith("(X_1 ")
    assert lines[3].startswith("(Y_0 ")
    assert (files / "found.txt").read_text() == done.out


def test_mistakes_are_told_with_their_place(files, run):
    done = run("verify", "net.onnx", "bad.vnnlib")
    assert done.code == 2
    assert "bad.vnnlib, line 4: there is no output Y_1: declared are Y_0 to Y_0" in done.err
    assert run("verify", "net.onnx").code == 2
    assert run("verify", "list.csv", "never.vnnlib").code == 2
    assert run("verify", "net.onnx", "never.vnnlib", "--timeout", "soon").code == 2
    assert run("verify", "none.onnx", "never.vnnlib").code == 2


def test_an_empty_box_is_said(files, run):
    done = run("verify", "net.onnx", "empty.vnnlib")
    assert (done.code, done.out) == (0, "unsat\n")
    assert "vacuously: an input box is empty: X_0 is at least 3 and at most 1 (line 2 and 4)" in done.err


def test_a_list(files, run):
    done = run("verify", "list.csv")
    assert done.code == 1
    assert done.out.splitlines()[-1] == "1 sat, 1 unsat; results in list-results.csv"
    again = run("verify", "list.csv")
    assert again.out.count("(kept)") == 2
