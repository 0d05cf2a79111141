"""ONNX graphs as functions of one row: equal to onnxruntime on many rows at once, whatever batch size the file insists on."""

import numpy as np
import pytest
import torch

from robustly.certify.lines import lines
from robustly.certify.questions import Questions
from robustly.core.errors import UsageError
from robustly.verifying.network import load_network
from robustly.verifying.replay import replayed
from robustly.verifying.verify import verify
from robustly.verifying.vnnlib import parse_vnnlib

from .onnx_nets import box_property, write

onnx = pytest.importorskip("onnx", reason="onnx is an extra")
pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")

DRAW = np.random.default_rng(1)


def w(*shape):
    return DRAW.standard_normal(shape).astype(np.float32)


def i(*values):
    return np.array(values, dtype=np.int64)


GRAPHS = {
    "a reshape of a fixed batch": (
        [("Reshape", ("x", "s"), "a", {}), ("Conv", ("a", "k"), "b", {}), ("Reshape", ("b", "t"), "y", {})],
        {"s": i(1, 1, 4, 4), "k": w(2, 1, 3, 3), "t": i(1, -1)},
        [1, 16],
    ),
    "shapes that are computed": (
        [
            ("Conv", ("x", "k"), "a", {}),
            ("Shape", ("a",), "s", {}),
            ("Gather", ("s", "zero"), "n", {}),
            ("Unsqueeze", ("n", "axis"), "m", {}),
            ("Concat", ("m", "rest"), "t", {"axis": 0}),
            ("Reshape", ("a", "t"), "y", {}),
        ],
        {"k": w(2, 1, 2, 2), "zero": np.array(0, dtype=np.int64), "axis": i(0), "rest": i(-1)},
        ["batch", 1, 4, 4],
    ),
    "transposed convolution": (
        [("ConvTranspose", ("x", "k", "b"), "y", {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]})],
        {"k": w(2, 3, 3, 3), "b": w(3)},
        [1, 2, 3, 3],
    ),
    "transposed convolution cropped unevenly": (
        [("ConvTranspose", ("x", "k"), "y", {"strides": [2, 2], "pads": [0, 1, 1, 0]})],
        {"k": w(2, 3, 3, 3)},
        [1, 2, 3, 3],
    ),
    "slices": (
        [
            ("Slice", ("x", "a", "b", "axes"), "p", {}),
            ("Slice", ("x", "c", "d", "axes", "two"), "q", {}),
            ("Concat", ("p", "q"), "y", {"axis": 1}),
        ],
        {"a": i(1), "b": i(3), "c": i(-4), "d": i(2**62), "axes": i(1), "two": i(2)},
        [1, 6],
    ),
    "split": (
        [("Split", ("x", "parts"), ("a", "b"), {"axis": 1}), ("Mul", ("a", "b"), "y", {})],
        {"parts": i(3, 3)},
        [1, 6],
    ),
    "gather": (
        [("Gather", ("x", "one"), "a", {"axis": 1}), ("Gather", ("a", "some"), "y", {"axis": 1})],
        {"one": np.array(1, dtype=np.int64), "some": i(2, 0)},
        [1, 2, 3],
    ),
    "attention": (
        [
            ("MatMul", ("x", "q"), "a", {}),
            ("Transpose", ("x",), "t", {"perm": [0, 2, 1]}),
            ("MatMul", ("a", "t"), "m", {}),
            ("Softmax", ("m",), "p", {"axis": -1}),
            ("MatMul", ("p", "x"), "o", {}),
            ("ReduceMean", ("o",), "y", {"axes": [1], "keepdims": 0}),
        ],
        {"q": w(3, 3)},
        [1, 4, 3],
    ),
    "normalised": ([("LayerNormalization", ("x", "s", "b"), "y", {"axis": -1})], {"s": w(5), "b": w(5)}, [1, 2, 5]),
    "activations": (
        [
            ("Elu", ("x",), "a", {"alpha": 0.5}),
            ("Softplus", ("a",), "b", {}),
            ("HardSigmoid", ("b",), "c", {}),
            ("PRelu", ("x", "s"), "d", {}),
            ("Sign", ("x",), "e", {}),
            ("Max", ("c", "d", "e"), "f", {}),
            ("Min", ("f", "x"), "g", {}),
            ("Clip", ("g", "low", "high"), "y", {}),
        ],
        {"s": np.abs(w(4)), "low": np.float32(-1).reshape(()), "high": np.float32(1).reshape(())},
        [1, 4],
    ),
    "gelu in parts": (
        [
            ("Div", ("x", "root"), "a", {}),
            ("Erf", ("a",), "b", {}),
            ("Add", ("b", "one"), "c", {}),
            ("Mul", ("x", "c"), "d", {}),
            ("Mul", ("d", "half"), "y", {}),
        ],
        {"root": np.float32(2**0.5).reshape(()), "one": np.float32(1).reshape(()), "half": np.float32(0.5).reshape(())},
        [1, 4],
    ),
    "gelu in parts, halved first": (
        [
            ("Mul", ("half", "x"), "h", {}),
            ("Mul", ("x", "root"), "a", {}),
            ("Erf", ("a",), "b", {}),
            ("Add", ("one", "b"), "c", {}),
            ("Mul", ("h", "c"), "y", {}),
        ],
        {
            "root": np.float32(0.5**0.5).reshape(()),
            "one": np.float32(1).reshape(()),
            "half": np.float32(0.5).reshape(()),
        },
        [1, 4],
    ),
    "powers and choices": (
        [
            ("Pow", ("x", "two"), "a", {}),
            ("Where", ("c", "a", "x"), "b", {}),
            ("ReduceMin", ("b",), "d", {"axes": [1], "keepdims": 1}),
            ("HardSwish", ("x",), "e", {}),
            ("Tile", ("d", "t"), "f", {}),
            ("Sub", ("e", "f"), "y", {}),
        ],
        {"two": np.float32(2).reshape(()), "c": np.array([[True, False, True, False]]), "t": i(1, 4)},
        [1, 4],
    ),
    "constants on the left": (
        [("Sub", ("c", "x"), "a", {}), ("Div", ("c", "d"), "e", {}), ("Mul", ("a", "e"), "y", {})],
        {"c": w(3), "d": w(3) + 5},
        [1, 3],
    ),
    "nearest neighbours": (
        [
            (
                "Resize",
                ("x", "", "s"),
                "y",
                {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"},
            )
        ],
        {"s": np.array([1, 1, 2, 2], dtype=np.float32)},
        [1, 2, 3, 3],
    ),
    "pads and pools": (
        [
            ("Pad", ("x", "p"), "a", {}),
            ("MaxPool", ("a",), "b", {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("BatchNormalization", ("b", "s", "o", "m", "v"), "c", {}),
            ("GlobalAveragePool", ("c",), "d", {}),
            ("Flatten", ("d",), "y", {}),
        ],
        {"p": i(0, 0, 1, 1, 0, 0, 0, 0), "s": w(2), "o": w(2), "m": w(2), "v": np.abs(w(2)) + 1},
        [1, 2, 5, 5],
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_rows_side_by_side_are_rows_alone(tmp_path, name):
    nodes, weights, shape = GRAPHS[name]
    net = load_network(write(tmp_path / "net.onnx", nodes, weights, shape))
    assert net.module is not None, net.why
    x = w(7, net.inputs)
    with torch.no_grad():
        got = net.module(torch.from_numpy(x)).numpy()
    assert got.shape == (7, net.outputs)
    assert np.allclose(got, net.ask(x), atol=1e-5)
    assert np.ptp(got, axis=0).max() > 1e-3  # and not a constant


@pytest.mark.parametrize("name", [n for n in GRAPHS if n != "activations"])
def test_each_graph_has_bounds_that_hold(tmp_path, name):
    nodes, weights, shape = GRAPHS[name]
    net = load_network(write(tmp_path / "net.onnx", nodes, weights, shape))
    middle = torch.from_numpy(w(1, net.inputs)).double()
    ends = middle - 0.1, middle + 0.1
    rows = torch.cat((torch.eye(net.outputs), -torch.eye(net.outputs))).double()[None]
    least = lines(net.module, net.inputs)(Questions(*ends, rows, torch.zeros(1, 2 * net.outputs).double())).least[0]
    assert torch.isfinite(least).all()
    inside = (ends[0] + 0.2 * torch.rand(500, net.inputs)).float().clamp(ends[0].float(), ends[1].float())
    values = torch.from_numpy(net.ask(inside.numpy())).double() @ rows[0].T
    assert (values >= least - 1e-6).all()
    assert float((values.amin(0) - least).max()) < 50


def test_a_gelu_in_parts_is_one(tmp_path):
    for name in ("gelu in parts", "gelu in parts, halved first"):
        nodes, weights, shape = GRAPHS[name]
        net = load_network(write(tmp_path / "net.onnx", nodes, weights, shape))
        assert any(isinstance(m, torch.nn.GELU) for m in net.module.modules())
        assert sum(1 for m in net.module.modules() if not list(m.children())) == 1


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([("Acos", ("x",), "y", {})], "unsupported operator Acos at node n0"),
        ([("Relu", ("x",), "a", {}), ("Reshape", ("a", "s"), "y", {})], "unsupported operator Reshape at node n1"),
    ],
)
def test_what_is_not_converted_is_named_with_its_place(tmp_path, nodes, words):
    net = load_network(write(tmp_path / "net.onnx", nodes, {"s": i(2, 2)}, [1, 4]))
    assert net.module is None
    assert words in net.why


def test_rows_that_are_mixed_are_found_out(tmp_path):
    nodes = [
        ("Transpose", ("x",), "a", {"perm": [1, 0, 2]}),
        ("Softmax", ("a",), "b", {"axis": 1}),
        ("Add", ("b", "x"), "y", {}),
    ]
    net = load_network(write(tmp_path / "net.onnx", nodes, {}, [1, 1, 3]))
    assert net.module is None  # alone a row is normalised by itself, side by side by the others too


def test_open_axes_and_integers_are_refused(tmp_path):
    path = write(tmp_path / "net.onnx", [("Relu", ("x",), "y", {})], {}, [1, "length"])
    with pytest.raises(UsageError, match="leaves the size of an input axis open"):
        load_network(path)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Cast", ["x"], ["y"], to=1)],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.INT64, [1, 2])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 2])],
    )
    onnx.save_model(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), str(path)
    )
    with pytest.raises(UsageError, match="takes integers"):
        load_network(path)


def test_a_counterexample_must_hold_in_the_file_and_as_others_run_it(tmp_path):
    nodes = [
        ("Pad", ("x", "p"), "a", {}),
        ("MaxPool", ("a",), "b", {"kernel_shape": [2, 2]}),
        ("Flatten", ("b",), "y", {}),
    ]
    net = load_network(write(tmp_path / "net.onnx", nodes, {"p": i(0, 0, 1, 1, 0, 0, 0, 0)}, [1, 1, 1, 1]))
    task = parse_vnnlib(box_property(-2, -1, 1, 1, "(<= Y_0 -0.5)"))  # max(0, x) is 0 on all of the box
    assert net.ask(np.float32([[-1]])).item() == 0
    assert verify(net, task, 1).verdict == "unsat"
    if net.ask_fused(np.float32([[-1]])).item() != 0:  # onnxruntime 1.31 pads with minus infinity instead
        assert replayed(net, task, np.float32([-1])) is None
