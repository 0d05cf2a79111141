"""Files of old exporters: settings that were attributes, weights that are inputs, operators that have gone since."""

import numpy as np
import pytest
import torch

from robustly.certify.lines import lines
from robustly.certify.questions import Questions
from robustly.verifying.network import load_network
from robustly.verifying.verify import verify
from robustly.verifying.vnnlib import parse_vnnlib

from .onnx_nets import box_property, write

pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")
DRAW = np.random.default_rng(2)


def w(*shape):
    return DRAW.standard_normal(shape).astype(np.float32)


def i(*values):
    return np.array(values, dtype=np.int64)


FILES = {
    "normalised, flattened, multiplied": (
        [
            ("Sub", ("x", "mean"), "a", {}),
            ("Flatten", ("a",), "b", {"axis": 1}),
            ("MatMul", ("b", "w"), "c", {}),
            ("Add", ("c", "b0"), "d", {}),
            ("Relu", ("d",), "e", {}),
            ("MatMul", ("e", "v"), "f", {}),
            ("Add", ("b1", "f"), "y", {}),
        ],
        {"mean": w(1, 1, 1, 5), "w": w(5, 6), "b0": w(6), "v": w(6, 3), "b1": w(3)},
        [1, 1, 1, 5],
        8,
    ),
    "channels last": (
        [
            ("Transpose", ("x",), "a", {"perm": [0, 3, 1, 2]}),
            ("Conv", ("a", "k", "c"), "b", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "VALID"}),
            ("Relu", ("b",), "d", {}),
            ("Transpose", ("d",), "e", {"perm": [0, 2, 3, 1]}),
            ("Reshape", ("e", "s"), "f", {}),
            ("MatMul", ("f", "w"), "y", {}),
        ],
        {"k": w(4, 3, 3, 3), "c": w(4), "s": i(-1, 16), "w": w(16, 3)},
        ["unk__0", 5, 5, 3],
        9,
    ),
    "attributes that became arguments": (
        [
            ("Slice", ("x",), "a", {"axes": [2], "starts": [0], "ends": [2]}),
            ("Squeeze", ("a",), "b", {"axes": [1]}),
            ("Unsqueeze", ("b",), "c", {"axes": [1]}),
            ("Clip", ("c",), "d", {"min": -0.5, "max": 0.5}),
            ("ReduceSum", ("d",), "e", {"axes": [3], "keepdims": 0}),
            ("Dropout", ("e",), "f", {"ratio": 0.5}),
            ("Flatten", ("f",), "g", {}),
            ("Softmax", ("g",), "y", {"axis": 1}),
        ],
        {},
        [1, 1, 3, 4],
        9,
    ),
    "parts, padding and enlargement": (
        [
            ("Split", ("x",), ("a", "b"), {"axis": 1, "split": [1, 1]}),
            ("Pad", ("a",), "c", {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "mode": "constant"}),
            ("Upsample", ("b", "twice"), "d", {"mode": "nearest"}),
            ("Concat", ("c", "d"), "e", {"axis": 1}),
            ("AveragePool", ("e",), "f", {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("BatchNormalization", ("f", "s", "o", "m", "v"), "g", {"epsilon": 1e-5}),
            ("Flatten", ("g",), "y", {}),
        ],
        {"twice": np.array([1, 1, 2, 2], np.float32), "s": w(2), "o": w(2), "m": w(2), "v": np.abs(w(2)) + 0.5},
        [1, 2, 2, 2],
        9,
    ),
    "a matrix on the left": (
        [
            ("Transpose", ("x",), "a", {"perm": [1, 0]}),
            ("MatMul", ("w", "a"), "b", {}),
            ("Transpose", ("b",), "c", {"perm": [1, 0]}),
            ("Sub", ("c", "d"), "y", {}),
        ],
        {"w": w(3, 4), "d": w(1, 3)},
        ["n", 4],
        9,
    ),
    "a token beside every row": (
        [
            ("Shape", ("x",), "s", {}),
            ("Gather", ("s", "zero"), "n", {"axis": 0}),
            ("Unsqueeze", ("n",), "m", {"axes": [0]}),
            ("Concat", ("m", "minus", "minus"), "t", {"axis": 0}),
            ("Shape", ("t",), "r", {}),
            ("ConstantOfShape", ("r",), "ones", {}),
            ("Cast", ("ones",), "whole", {"to": 7}),
            ("Add", ("whole", "one"), "u", {}),
            ("Mul", ("u", "minus"), "v", {}),
            ("Equal", ("t", "v"), "q", {}),
            ("Where", ("q", "u", "t"), "z", {}),
            ("Expand", ("token", "z"), "rows", {}),
            ("Concat", ("rows", "x"), "a", {"axis": 1}),
            ("MatMul", ("a", "w"), "b", {}),
            ("ReduceMean", ("b",), "y", {"axes": [1], "keepdims": 0}),
        ],
        {
            "zero": np.array(0, np.int64), "minus": i(-1), "one": i(1), "token": w(1, 1, 3), "w": w(3, 2),
        },
        ["n", 4, 3],
        11,
    ),
    "whole numbers divided": (
        [
            ("Shape", ("x",), "s", {}),
            ("Gather", ("s", "last"), "n", {"axis": 0}),
            ("Div", ("n", "two"), "h", {}),
            ("Unsqueeze", ("h",), "m", {"axes": [0]}),
            ("Slice", ("x", "start", "m", "axis"), "a", {}),
            ("Slice", ("x", "end", "far", "axis", "back"), "b", {}),
            ("Concat", ("a", "b"), "y", {"axis": 1}),
        ],
        {
            "last": np.array(1, np.int64), "two": np.array(2, np.int64), "start": i(0), "axis": i(1),
            "end": i(-1), "far": i(-(2**62)), "back": i(-2),
        },
        ["n", 5],
        11,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("ir", [3, 8])
def test_old_files_are_read_bounded_and_run(tmp_path, name, ir):
    nodes, weights, shape, opset = FILES[name]
    net = load_network(write(tmp_path / "net.onnx", nodes, weights, shape, None, opset, ir))
    assert net.module is not None, net.why
    x = w(6, net.inputs)
    with torch.no_grad():
        assert np.allclose(net.module(torch.from_numpy(x)).numpy(), net.ask(x), atol=1e-5)
    middle = torch.from_numpy(x[:1]).double()
    rows = torch.cat((torch.eye(net.outputs), -torch.eye(net.outputs))).double()[None]
    question = Questions(middle - 0.05, middle + 0.05, rows, torch.zeros(1, rows.shape[1]).double())
    least = lines(net.module, net.inputs)(question).least[0]
    inside = (middle - 0.05 + 0.1 * torch.rand(200, net.inputs)).float()
    values = torch.from_numpy(net.ask(inside.numpy())).double() @ rows[0].T
    assert (values >= least).all()
    assert float((values.amin(0) - least).max()) < 8
    top = float(values[:, 0].max())
    beyond = float(-least[net.outputs]) + 1e-3
    for bar, wanted in ((top, "sat"), (beyond, "unsat")):
        text = box_property(0, 0, net.inputs, net.outputs, f"(>= Y_0 {bar!r})")
        low, high = (question.lower[0].tolist(), question.upper[0].tolist())
        for k in range(net.inputs):
            text = text.replace(f"(>= X_{k} 0)", f"(>= X_{k} {low[k]!r})").replace(
                f"(<= X_{k} 0)", f"(<= X_{k} {high[k]!r})"
            )
        assert verify(net, parse_vnnlib(text), 20).verdict == wanted


def test_a_network_that_cannot_be_bounded_is_searched_all_the_same(tmp_path):
    nodes = [("ArgMax", ("x",), "a", {"axis": 1, "keepdims": 1}), ("Cast", ("a",), "y", {"to": 1})]
    net = load_network(write(tmp_path / "net.onnx", nodes, {}, [1, 3], None, 11))
    assert "unsupported operator ArgMax at node n0" in net.why
    assert verify(net, parse_vnnlib(box_property(-1, 1, 3, 1, "(>= Y_0 2)")), 10).verdict == "sat"
    answer = verify(net, parse_vnnlib(box_property(-1, 1, 3, 1, "(>= Y_0 3)")), 0.3)
    assert answer.verdict == "unknown"
    assert "ArgMax" in answer.why
