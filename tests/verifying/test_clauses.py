"""Several disjunctions at once: read without multiplying out, proven by one of them, broken by all together."""

import itertools

import numpy as np
import pytest

from robustly.verifying.clauses import faces, several
from robustly.verifying.network import load_network
from robustly.verifying.replay import replayed
from robustly.verifying.verify import verify
from robustly.verifying.vnnlib import parse_vnnlib

from .onnx_nets import box_property, write

pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")
OUTPUTS = 60


def grid(*bars: float) -> str:
    """For each bar, that one of twenty outputs reaches it."""
    clauses = [
        "(or " + " ".join(f"(and (>= Y_{20 * i + k} {bar}))" for k in range(20)) + ")" for i, bar in enumerate(bars)
    ]
    return "(and " + " ".join(clauses) + ")"


@pytest.fixture
def net(tmp_path):
    """y_k = x_k for the first twenty, x_k - 1 for the next, and - x_k for the last: three groups of the same twenty inputs."""
    eye, none = np.eye(20, dtype=np.float32), np.zeros(20, np.float32)
    weights = {
        "w": np.concatenate((eye, eye, -eye)),
        "b": np.concatenate((none, none - 1, none)).astype(np.float32),
    }
    return load_network(write(tmp_path / "net.onnx", [("Gemm", ("x", "w", "b"), "y", {"transB": 1})], weights, [1, 20]))


def task(*bars: float):
    return parse_vnnlib(box_property(0, 1, 20, OUTPUTS, grid(*bars)))


def test_lists_are_kept_beside_each_other():
    (region,) = task(0.5, -0.5, -0.1).regions
    assert [len(some) for some in (region.unsafe, *region.also)] == [20, 20, 20]
    assert several(task(0.5, -0.5, -0.1))
    assert [len(face.regions[0].unsafe) for face in faces(task(0.5, -0.5, -0.1))] == [20, 20, 20]


def test_meeting_all_lists_is_meeting_a_product_of_them():
    text = (
        "(and " + " ".join("(or " + " ".join(f"(<= Y_{3 * i + k} 0)" for k in range(3)) + ")" for i in range(6)) + ")"
    )
    (region,) = parse_vnnlib(box_property(0, 1, 1, 18, text)).regions  # 3^6 = 729 cases are too many
    assert region.also
    draw = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        y = np.where(draw.random(18) < 0.45, -1.0, 1.0)
        wanted = any(
            all(y[3 * i + k] <= 0 for i, k in enumerate(chosen)) for chosen in itertools.product(range(3), repeat=6)
        )
        assert region.violated(y) == wanted
        seen.add(wanted)
    assert seen == {True, False}


def test_rows_that_must_all_hold_stay_rows():
    boxes = "(or " + " ".join(f"(and (>= X_0 {i}) (<= X_0 {i + 1}))" for i in range(300)) + ")"
    text = "(declare-const X_0 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)"
    found = parse_vnnlib(f"{text}(assert {boxes})(assert (<= Y_0 0))(assert (<= Y_1 0))").regions
    assert len(found) == 300
    assert all(not region.also and [len(rows) for rows in region.unsafe] == [2] for region in found)


def test_one_list_that_is_never_met_is_a_proof(net):
    answer = verify(net, task(0.5, 0.1, -0.9), 10)  # x - 1 never reaches 0.1
    assert answer.verdict == "unsat"


def test_a_point_that_meets_them_all_is_found(net):
    wanted = task(0.5, -0.5, -0.9)
    answer = verify(net, wanted, 10)
    assert answer.verdict == "sat"
    assert replayed(net, wanted, answer.counterexample.inputs) is not None


def test_what_each_list_allows_and_all_together_forbid_is_not_proven_and_not_broken(tmp_path):
    weights = {"w": np.array([[1]] * 20 + [[-1]] * 20, dtype=np.float32), "b": np.zeros(40, np.float32)}
    net = load_network(write(tmp_path / "net.onnx", [("Gemm", ("x", "w", "b"), "y", {"transB": 1})], weights, [1, 1]))
    wanted = parse_vnnlib(box_property(-1, 1, 1, 40, grid(0.5, 0.5)))  # x >= 0.5 and x <= -0.5
    answer = verify(net, wanted, 1)
    assert answer.verdict == "unknown"
    assert "disjunctions" in answer.why
