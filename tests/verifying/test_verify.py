"""Verdicts: sat only with a counterexample to the letter, unsat only where it is true, unknown with a reason."""

import gzip
import time

import numpy as np
import pytest
import torch
from bench.needles import attacked, saved, spike, trained

from robustly.core import keys
from robustly.core.errors import Contradiction, UsageError
from robustly.verifying.network import load_network
from robustly.verifying.proofs import Proofs, standard
from robustly.verifying.replay import read_counterexample, replayed, told
from robustly.verifying.verify import verify
from robustly.verifying.vnnlib import parse_vnnlib

from .onnx_nets import box_property, perceptron, write

pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")


def linear(path, weight, bias):
    weights = {"w": np.array(weight, dtype=np.float32), "b": np.array(bias, dtype=np.float32)}
    return write(path, [("Gemm", ("x", "w", "b"), "y", {"transB": 1})], weights, [1, len(weight[0])])


def test_a_linear_network_on_both_sides_of_its_threshold(tmp_path):
    net = load_network(linear(tmp_path / "net.onnx", [[1, -1]], [0]))  # at most 1 - 0 on the unit box
    beyond = verify(net, parse_vnnlib(box_property(0, 1, 2, 1, "(>= Y_0 1.001)")), 10)
    reached = verify(net, parse_vnnlib(box_property(0, 1, 2, 1, "(>= Y_0 1.0)")), 10)
    assert beyond.verdict == "unsat"
    assert beyond.proven_by == ("interval",)
    assert reached.verdict == "sat"  # a tie counts
    assert reached.counterexample.inputs.tolist() == [1.0, 0.0]


def test_a_counterexample_is_inside_the_box_to_the_last_bit_and_written_exactly(tmp_path):
    net = load_network(linear(tmp_path / "net.onnx", [[1, 1]], [0]))
    task = parse_vnnlib(box_property(-0.1, 0.1, 2, 1, "(>= Y_0 0.19)"))
    found = verify(net, task, 10)
    assert found.verdict == "sat"
    x = found.counterexample.inputs
    assert task.regions[0].contains(x)
    assert float(x.max()) < float(np.float32(0.1))  # the nearest float32 to 0.1 is outside
    first, *rest = found.text().splitlines()
    assert first == "sat"
    assert rest[0].startswith("((X_0 ")
    assert rest[-1].startswith("(Y_0 ")
    assert rest[-1].endswith("))")
    again = read_counterexample(told(found.counterexample))
    assert np.array_equal(again, x.astype(np.float64))
    assert replayed(net, task, again) is not None
    assert replayed(net, task, np.array([0.1, 0.1])) is None  # rounds to a float32 outside
    assert replayed(net, task, np.array([0.0, 0.0])) is None  # inside, and safe


def test_a_plateau_exactly_at_the_threshold_is_not_proven(tmp_path):
    net = load_network(linear(tmp_path / "net.onnx", [[0.1, 0.2]], [0.3]))
    top = net.ask(np.ones((1, 2), np.float32))[0, 0]
    above = float(np.nextafter(top, np.float32(np.inf)))
    answer = verify(net, parse_vnnlib(box_property(0, 1, 2, 1, f"(>= Y_0 {above!r})")), 1)
    assert answer.verdict == "unknown"  # a last bit of float32 is within the error of a sum
    assert answer.why


@pytest.mark.parametrize("seed", range(6))
def test_small_random_networks_agree_with_a_grid(tmp_path, seed):
    net = load_network(perceptron(tmp_path / "net.onnx", [2, 8, 8, 2], seed, 2.0))
    axis = np.linspace(-1, 1, 201, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    with torch.no_grad():
        values = net.module(torch.from_numpy(grid))
    least = float((values[:, 0] - values[:, 1]).min())
    for shift, wanted in ((0.1, "unsat"), (-1e-3, "sat")):
        text = box_property(-1, 1, 2, 2, f"(<= (- Y_0 Y_1) {least - shift:.6f})")
        assert verify(net, parse_vnnlib(text), 20).verdict == wanted


@pytest.mark.parametrize("seed", range(4))
def test_a_planted_counterexample_is_never_called_absent(tmp_path, seed):
    needle = trained(seed, steps=60)
    net = load_network(saved(needle, tmp_path / "needle.onnx"))
    truth = replayed(net, needle.property, needle.planted.numpy())
    assert truth is not None
    points = attacked(needle.module, needle.lower, needle.upper, 0, keys.from_ids(0, ["a"]), 100, 30)
    scores = needle.module(points)
    assert float((scores[:, 1:] >= scores[:, :1]).any(1).float().mean()) < 0.05  # it is hidden
    assert verify(net, needle.property, 3, clock=time.process_time).verdict != "unsat"


@pytest.mark.parametrize("seed", range(3))
def test_a_spike_is_decided_on_both_sides(tmp_path, seed):
    for threshold, wanted in ((0.875, "sat"), (1.125, "unsat")):
        needle = spike(seed, inputs=3, threshold=threshold)
        net = load_network(saved(needle, tmp_path / "spike.onnx"))
        assert verify(net, needle.property, 20, clock=time.process_time).verdict == wanted


def test_conjunctions_need_all_their_rows(tmp_path):
    net = load_network(linear(tmp_path / "net.onnx", [[1], [-1]], [0, 0]))
    both = box_property(-1, 1, 1, 2, "(and (>= Y_0 0.5) (>= Y_1 0.5))")
    either = box_property(-1, 1, 1, 2, "(or (>= Y_0 1.5) (>= Y_1 0.5))")
    assert verify(net, parse_vnnlib(both), 10).verdict == "unsat"
    assert verify(net, parse_vnnlib(either), 10).verdict == "sat"


def test_regions_of_their_own_are_each_searched(tmp_path):
    net = load_network(linear(tmp_path / "net.onnx", [[1]], [0]))
    head = "(declare-const X_0 Real)(declare-const Y_0 Real)"
    text = "(assert (or (and (>= X_0 0)(<= X_0 1)(>= Y_0 2)) (and (>= X_0 4)(<= X_0 {})(>= Y_0 5))))"
    assert verify(net, parse_vnnlib(head + text.format(4.5)), 10).verdict == "unsat"
    assert verify(net, parse_vnnlib(head + text.format(5.5)), 10).counterexample.inputs[0] >= 5


def test_vacuous_truth_is_said(tmp_path):
    net = load_network(linear(tmp_path / "net.onnx", [[1]], [0]))
    empty = verify(net, parse_vnnlib(box_property(1, 0, 1, 1, "(>= Y_0 0)")), 5)
    assert empty.verdict == "unsat"
    assert empty.why.startswith("vacuously: an input box is empty: X_0")
    all_ = verify(net, parse_vnnlib(box_property(0, 1, 1, 1, "(or (>= Y_0 0) (<= Y_0 0))")), 5)
    assert all_.verdict == "sat"


def test_a_box_without_a_float_is_never_sat(tmp_path):
    net = load_network(linear(tmp_path / "net.onnx", [[1]], [0]))
    answer = verify(net, parse_vnnlib(box_property(0.1, 0.1, 1, 1, "(>= Y_0 0)")), 0.5)
    assert answer.verdict == "unknown"
    assert "no float32" in answer.notes[0]
    assert verify(net, parse_vnnlib(box_property(0.1, 0.1, 1, 1, "(>= Y_0 1)")), 5).verdict == "unsat"


def test_another_networks_property_is_refused(tmp_path):
    net = load_network(linear(tmp_path / "net.onnx", [[1, 1]], [0]))
    with pytest.raises(UsageError, match=r"2 outputs, but net.onnx has 1 \(Y_0 to Y_0\): Y_1 does not exist"):
        verify(net, parse_vnnlib(box_property(0, 1, 2, 2, "(>= Y_1 0)")))
    with pytest.raises(UsageError, match="about 3 inputs"):
        verify(net, parse_vnnlib(box_property(0, 1, 3, 1, "(>= Y_0 0)")))
    with pytest.raises(UsageError, match="timeout"):
        verify(net, parse_vnnlib(box_property(0, 1, 2, 1, "(>= Y_0 0)")), 0)


def test_an_operator_without_a_twin_is_named_and_still_searched(tmp_path):
    path = write(tmp_path / "net.onnx", [("Acos", ("x",), "y", {})], {}, [1, 1], [1, 1])
    net = load_network(path)
    assert net.module is None
    open_ = verify(net, parse_vnnlib(box_property(0, 1, 1, 1, "(>= Y_0 2)")), 0.5)
    assert open_.verdict == "unknown"
    assert "unsupported operator Acos at node n0" in open_.why
    assert verify(net, parse_vnnlib(box_property(0, 1, 1, 1, "(>= Y_0 1)")), 5).verdict == "sat"


def test_a_wrong_bound_stops_with_a_contradiction(tmp_path):
    net = load_network(linear(tmp_path / "net.onnx", [[1]], [0]))

    def proud(module, inputs):
        plain = standard().bounds[0][1](module, inputs)

        def bound(questions):
            found = plain(questions)
            return found._replace(least=found.least + 100)

        return bound

    with pytest.raises(Contradiction, match="proud bound is above what the network answers"):
        verify(net, parse_vnnlib(box_property(0, 1, 1, 1, "(>= Y_0 5)")), 5, Proofs((("proud", proud),)))


def test_packed_files_and_files_that_are_none(tmp_path):
    path = linear(tmp_path / "net.onnx", [[1]], [0])
    packed = tmp_path / "net.onnx.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    (tmp_path / "p.vnnlib").write_text(box_property(0, 1, 1, 1, "(>= Y_0 2)"))
    assert verify(packed, tmp_path / "p.vnnlib", 5).verdict == "unsat"
    assert load_network(packed).digest == load_network(path).digest
    with pytest.raises(UsageError, match="no model file"):
        verify(tmp_path / "none.onnx", tmp_path / "p.vnnlib")


def test_a_network_too_large_for_bounds_is_searched_to_the_end(tmp_path, monkeypatch):
    from robustly.certify import lines

    net = load_network(perceptron(tmp_path / "net.onnx", [6, 8, 3], 0))
    monkeypatch.setattr(lines, "MOST", 10.0)
    answer = verify(net, parse_vnnlib(box_property(-1, 1, 6, 3, "(>= Y_0 1.9)")), 1)
    assert answer.verdict == "unknown"
    assert "more than 1e+01" in answer.why


def test_all_questions_of_a_box_are_asked_at_its_middle(tmp_path):
    net = load_network(linear(tmp_path / "net.onnx", [[1.0], [-1.0], [2.0]], [0, 0, 0]))
    unsafe = "(or (>= Y_0 5) (>= Y_1 5) (and (<= Y_2 1e-3) (>= Y_2 -1e-3)))"
    hunt_only = Proofs(())
    answer = verify(net, parse_vnnlib(box_property(-1, 1, 1, 3, unsafe)), 5, hunt_only)
    assert answer.verdict == "sat"
    assert answer.counterexample.inputs.tolist() == [0.0]  # the middle, and the third question


def test_a_search_takes_as_many_points_as_the_network_is_small(tmp_path):
    from dataclasses import replace

    from robustly.verifying.asking import questions_of
    from robustly.verifying.hunt import Hunt
    from robustly.verifying.search import Inside

    net = load_network(perceptron(tmp_path / "net.onnx", [4, 8, 2], 0))
    assert net.numbers >= 4 + 8 + 8 + 2
    assert net.seconds > 0
    task = parse_vnnlib(box_property(0, 1, 4, 2, "(>= Y_0 9)"))
    questions, low, high = questions_of(task)

    def room(**facts):
        large = replace(net, **facts)
        hunt = Hunt(large, task, questions, Inside(low, high), 100.0, lambda: 0.0, torch.ones(1, dtype=torch.bool))
        return hunt.room(64)

    assert room(seconds=1e-6) == 64
    assert room(seconds=1e-6, numbers=2**25) == 4
    assert room(seconds=1.0) == 2
    assert room(seconds=1e3) == 1
