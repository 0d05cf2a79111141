"""ONNX files: scores of onnxruntime, gradients of a twin that agrees, and nothing read from outside."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustly.adapters.border import check_pair
from robustly.adapters.data import load_data
from robustly.adapters.models import load_model
from robustly.core.errors import UsageError
from robustly.oracle import Access

onnx = pytest.importorskip("onnx", reason="onnx is an extra")
pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")
helper, numpy_helper, TensorProto = onnx.helper, onnx.numpy_helper, onnx.TensorProto

DRAW = np.random.default_rng(0)
CASES: dict[str, tuple[list[int], list[Any], dict[str, np.ndarray]]] = {}


def node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), [output], name=f"{kind.lower()}_{output}", **attributes)


def weight(*shape: int) -> np.ndarray:
    return DRAW.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def model_of(
    path: Path,
    row: Sequence[int | str],
    nodes: list[Any],
    weights: dict[str, np.ndarray],
    batch: int | str = "batch",
    opset: int = 17,
) -> str:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *row])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, "k"])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.save_model(proto, str(path))
    return str(path)


def convnet(path: Path, batch: int | str = "batch") -> tuple[str, nn.Sequential]:
    """A convolutional network written by hand in ONNX, and the same in torch."""
    k, b, w, c = weight(4, 1, 3, 3), weight(4), weight(3, 36), weight(3)
    nodes = [
        node("Conv", ("x", "k", "b"), "a", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", "a", "r"),
        node("Flatten", "r", "f"),
        node("Gemm", ("f", "w", "c"), "out", transB=1),
    ]
    module = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)).eval()
    state = {"0.weight": k, "0.bias": b, "3.weight": w, "3.bias": c}
    module.load_state_dict({name: torch.from_numpy(v) for name, v in state.items()})
    return model_of(path, [1, 6, 6], nodes, {"k": k, "b": b, "w": w, "c": c}, batch), module


@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_scores_and_gradients_are_those_of_the_network_for_any_batch(tmp_path: Path, batch: int | str) -> None:
    word, module = convnet(tmp_path / "net.onnx", batch)
    before = torch.get_rng_state()
    model = load_model(word)
    assert torch.equal(before, torch.get_rng_state())
    for count in (1, 3, 6):
        z = torch.rand(count, 1, 6, 6, requires_grad=True)
        w = z.detach().clone().requires_grad_()
        scores, wanted = model.answer(z), module(w)
        assert torch.allclose(scores, wanted, atol=1e-5)
        assert torch.allclose(model.ask(z.detach()), wanted, atol=1e-5)
        ours, theirs = (torch.autograd.grad(s.logsumexp(1).sum(), i)[0] for s, i in ((scores, z), (wanted, w)))
        assert torch.allclose(ours, theirs, atol=1e-5)
    assert model.access is Access.GRADIENTS
    assert [type(layer) for layer in model.module] == [nn.Conv2d, nn.ReLU, nn.Flatten, nn.Linear]
    assert any(f"batch size {batch} is fixed" in note for note in model.notes) is (batch != "batch")


def case(name: str, row: list[int], *nodes: Any, **weights: np.ndarray) -> None:
    CASES[name] = (row, list(nodes), weights)


one = np.float32(1.5)
case("matmul add", [6], node("MatMul", ("x", "w"), "m"), node("Add", ("m", "b"), "out"), w=weight(6, 3), b=weight(3))
case(
    "sub mul div",
    [3],
    node("Sub", ("x", "b"), "s"),
    node("Mul", ("s", "c"), "m"),
    node("Div", ("c", "d"), "e"),
    node("Add", ("m", "e"), "out"),
    b=weight(3),
    c=weight(3),
    d=weight(3) + 4,
)
case("gemm scaled", [6], node("Gemm", ("x", "w", "c"), "out", alpha=0.5, beta=2.0), w=weight(6, 3), c=weight(1, 3))
case(
    "activations",
    [4],
    node("LeakyRelu", "x", "a", alpha=0.2),
    node("Sigmoid", "a", "b"),
    node("Tanh", "b", "c"),
    node("Softmax", "c", "out"),
)
case(
    "batch norm",
    [2, 3, 3],
    node("BatchNormalization", ("x", "s", "b", "m", "v"), "n"),
    node("GlobalAveragePool", "n", "g"),
    node("Flatten", "g", "out"),
    s=weight(2),
    b=weight(2),
    m=weight(2),
    v=np.abs(weight(2)) + 1,
)
case(
    "max pool",
    [2, 7, 7],
    node("MaxPool", "x", "p", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    node("Flatten", "p", "out"),
)
case(
    "uneven pool",
    [2, 6, 6],
    node("MaxPool", "x", "p", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
    node("Flatten", "p", "out"),
)
case(
    "mean pool",
    [2, 7, 7],
    node("AveragePool", "x", "p", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    node("Flatten", "p", "out"),
)
case(
    "counted mean pool",
    [2, 6, 6],
    node("AveragePool", "x", "p", kernel_shape=[3, 3], pads=[0, 0, 1, 1], count_include_pad=1),
    node("Flatten", "p", "out"),
)
case(
    "same conv",
    [1, 7, 7],
    node("Conv", ("x", "k"), "c", auto_pad="SAME_UPPER", strides=[2, 2]),
    node("Flatten", "c", "out"),
    k=weight(2, 1, 2, 2),
)
case(
    "uneven conv",
    [4, 6],
    node("Conv", ("x", "k"), "c", pads=[0, 2], group=2, dilations=[2]),
    node("Flatten", "c", "out"),
    k=weight(2, 2, 2),
)
case(
    "reshape",
    [2, 3],
    node("Reshape", ("x", "s"), "r"),
    node("Transpose", "r", "t", perm=[0, 2, 1]),
    node("Reshape", ("t", "f"), "out"),
    s=ints(0, 3, 2),
    f=ints(0, -1),
)
case(
    "skip",
    [4],
    node("Gemm", ("x", "w"), "a"),
    node("Relu", "a", "r"),
    node("Add", ("r", "x"), "s"),
    node("Concat", ("s", "x"), "out", axis=1),
    w=weight(4, 4),
)
case(
    "constant",
    [3],
    helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(weight(3))),
    node("Mul", ("x", "k"), "m"),
    node("Identity", "m", "i"),
    node("Dropout", "i", "out"),
)
case(
    "clip pad",
    [1, 4, 4],
    node("Clip", ("x", "lo", "hi"), "c"),
    node("Pad", ("c", "p", "v"), "d"),
    node("Flatten", "d", "out"),
    lo=np.float32(0.2),
    hi=np.float32(0.7),
    p=ints(0, 0, 1, 0, 0, 0, 0, 2),
    v=one,
)
case(
    "reflect pad",
    [1, 4, 4],
    node("Pad", ("x", "p"), "d", mode="reflect"),
    node("Flatten", "d", "out"),
    p=ints(0, 0, 1, 2, 0, 0, 0, 1),
)
case(
    "squeeze mean",
    [3, 5],
    node("Unsqueeze", ("x", "one"), "u"),
    node("Squeeze", ("u", "one"), "s"),
    node("ReduceMean", "s", "out", axes=[2], keepdims=0),
    one=ints(1),
)
case(
    "shape",
    [2, 3],
    node("Shape", "x", "s"),
    node("Gather", ("s", "zero"), "b"),
    node("Concat", ("b", "rest"), "t", axis=0),
    node("Reshape", ("x", "t"), "out"),
    zero=ints(0),
    rest=ints(-1),
)


@pytest.mark.parametrize("name", CASES)
def test_each_operator_is_converted_faithfully(tmp_path: Path, name: str) -> None:
    row, nodes, weights = CASES[name]
    model = load_model(model_of(tmp_path / "net.onnx", row, nodes, weights))
    assert model.access is Access.GRADIENTS, model.notes
    z = torch.randn(5, *row, dtype=torch.float32, generator=torch.Generator().manual_seed(3)).requires_grad_()
    scores, asked = model.answer(z), model.ask(z.detach())
    assert torch.allclose(scores, asked, atol=1e-5)
    direction = torch.randn(asked.shape[1], generator=torch.Generator().manual_seed(4))
    (grad,) = torch.autograd.grad((scores @ direction).sum(), z)
    step = 1e-3 * torch.randn(z.shape, generator=torch.Generator().manual_seed(5))
    rise = ((model.ask(z.detach() + step) - model.ask(z.detach() - step)) @ direction).sum() / 2  # of the file itself
    assert rise == pytest.approx(float((grad * step).sum()), rel=0.05, abs=2e-5)


def test_an_operator_that_is_not_converted_leaves_scores_and_says_so(tmp_path: Path) -> None:
    word = model_of(tmp_path / "net.onnx", [4], [node("Softsign", "x", "a"), node("Hardmax", "a", "out")], {})
    model = load_model(word)
    assert (model.access, model.module) == (Access.SCORES, None)
    assert any(
        "unsupported operator Softsign at node softsign_a: gradients not available, query attacks only" in n
        for n in model.notes
    )
    assert model.ask(torch.eye(4)).argmax(1).tolist() == [0, 1, 2, 3]
    with pytest.raises(UsageError, match=r"at most scores.*Softsign"):
        load_model(word, access="gradients")


def test_a_conversion_that_disagrees_is_found_at_load_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from robustly.adapters.onnx_layers import table

    word, _ = convnet(tmp_path / "net.onnx")
    monkeypatch.setitem(table.OPERATORS, "Relu", lambda at, args: nn.LeakyReLU(0.05))
    model = load_model(word)
    assert model.access is Access.SCORES
    assert any("differs from onnxruntime" in note for note in model.notes)


def external(path: Path, location: str) -> str:
    """A network whose weights are said to lie in `location`."""
    word = model_of(path, [6], [node("MatMul", ("x", "w"), "out")], {"w": weight(6, 3)})
    proto = onnx.load_model_from_string(path.read_bytes())
    tensor = proto.graph.initializer[0]
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(len(content)))):
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(proto.SerializeToString())
    (path.parent.parent / "w.bin").write_bytes(content)
    return word


def test_weights_beside_the_file_are_read_and_those_elsewhere_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, outside = tmp_path / "model", tmp_path / "w.bin"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)  # where a runtime that resolves names itself would find w.bin
    with pytest.raises(UsageError, match=r'"w\.bin", and there is no such file'):
        load_model(external(folder / "net.onnx", "w.bin"))
    (folder / "w.bin").write_bytes(outside.read_bytes())
    assert load_model(str(folder / "net.onnx")).ask(torch.eye(6)).numpy().tobytes() == outside.read_bytes()
    (folder / "net.onnx").rename(folder / "good.onnx")
    for location in ("../w.bin", str(outside), "sub/../../w.bin", "C:\\w.bin", ""):
        with pytest.raises(UsageError, match="not in its own folder"):
            load_model(external(folder / "net.onnx", location))
    os.symlink(outside, folder / "link.bin")
    os.symlink(tmp_path, folder / "there")
    for location in ("link.bin", "there/w.bin"):
        with pytest.raises(UsageError, match="symbolic link"):
            load_model(external(folder / "net.onnx", location))
    os.link(outside, folder / "hard.bin")
    with pytest.raises(UsageError, match="hard link"):
        load_model(external(folder / "net.onnx", "hard.bin"))
    (folder / "w.bin").write_bytes(b"short")
    with pytest.raises(UsageError, match=r"w\.bin has 5 bytes.*0 to 72"):
        load_model(external(folder / "net.onnx", "w.bin"))


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x99 not onnx")
    with pytest.raises(UsageError, match=r"bad\.onnx"):
        load_model(str(tmp_path / "bad.onnx"))
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(UsageError, match=r"empty\.onnx.*no graph"):
        load_model(str(tmp_path / "empty.onnx"))
    with pytest.raises(UsageError, match=r"no model file .*gone\.onnx"):
        load_model(str(tmp_path / "gone.onnx"))
    word = model_of(tmp_path / "invalid.onnx", [4], [node("Relu", ("nowhere",), "out")], {})
    with pytest.raises(UsageError, match="not valid ONNX"):
        load_model(word)
    word, _ = convnet(tmp_path / "net.onnx")
    with pytest.raises(UsageError, match=r'run on the CPU.*device="cpu"'):
        load_model(word, device="cuda")


def test_without_onnx_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    word, _ = convnet(tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install robustly\[onnx\]"):
        load_model(word)


def test_probabilities_from_a_softmax_are_noticed(tmp_path: Path) -> None:
    model = load_model(model_of(tmp_path / "net.onnx", [3], [node("Softmax", "x", "out")], {}))
    data = load_data((torch.rand(4, 3), [0, 1, 2, 0]))
    assert any("look like probabilities" in w for w in check_pair(model, data).warnings)


def test_old_softmax_flattens(tmp_path: Path) -> None:
    word = model_of(
        tmp_path / "net.onnx", [2, 3], [node("Softmax", "x", "s"), node("Flatten", "s", "out")], {}, opset=11
    )
    model = load_model(word)
    z = torch.rand(3, 2, 3)

    def wanted(z: Tensor) -> Tensor:
        return functional.softmax(z.flatten(1), dim=1)

    assert torch.allclose(model.ask(z), wanted(z), atol=1e-6)
    assert torch.allclose(model.answer(z.requires_grad_()), wanted(z), atol=1e-6)
