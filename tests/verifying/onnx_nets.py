"""ONNX files written by hand for these tests."""

from itertools import pairwise
from pathlib import Path

import numpy as np


def write(
    path: Path,
    nodes: list,
    weights: dict[str, np.ndarray],
    shape: list,
    out: list | None = None,
    opset: int = 17,
    ir: int = 9,
) -> Path:
    """x (shape) through (kind, inputs, output, attributes) nodes to "y". Before the third version of the format weights were
    inputs too."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    made = [
        helper.make_node(kind, list(takes), [gives] if isinstance(gives, str) else list(gives), name=f"n{i}", **more)
        for i, (kind, takes, gives, more) in enumerate(nodes)
    ]
    also = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in weights.items()
    ]
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape), *(also if ir < 4 else [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    if out is None:
        known = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output[0].type.tensor_type.shape
        sizes = [d.dim_value if d.HasField("dim_value") else f"d{i}" for i, d in enumerate(known.dim)]
        kind = TensorProto.FLOAT
        graph.output[0].CopyFrom(helper.make_tensor_value_info("y", kind, sizes or ["a", "b"]))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    onnx.save_model(model, str(path))
    return path


def perceptron(path: Path, widths: list[int], seed: int, scale: float = 1.0) -> Path:
    """Gemm and Relu with random weights."""
    draw = np.random.default_rng(seed)
    nodes, weights, name = [], {}, "x"
    for i, (a, b) in enumerate(pairwise(widths)):
        weights[f"w{i}"] = (scale * draw.standard_normal((b, a)) / np.sqrt(a)).astype(np.float32)
        weights[f"b{i}"] = (0.1 * draw.standard_normal(b)).astype(np.float32)
        last = i == len(widths) - 2
        nodes.append(("Gemm", (name, f"w{i}", f"b{i}"), "y" if last else f"g{i}", {"transB": 1}))
        if not last:
            nodes.append(("Relu", (f"g{i}",), f"r{i}", {}))
            name = f"r{i}"
    return write(path, nodes, weights, [1, widths[0]])


def box_property(low: float, high: float, inputs: int, outputs: int, unsafe: str) -> str:
    """A VNN-LIB text: all inputs in [low, high]."""
    lines = [f"(declare-const X_{i} Real)" for i in range(inputs)] + [
        f"(declare-const Y_{i} Real)" for i in range(outputs)
    ]
    lines += [f"(assert (>= X_{i} {low}))(assert (<= X_{i} {high}))" for i in range(inputs)]
    return "\n".join([*lines, f"(assert {unsafe})"])
