"""An ONNX network as a property sees it: a flat list of inputs, a flat list of outputs, and a torch twin to reason about."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustly.core.errors import UsageError

AGREE = 1e-4
"""Most the twin may differ from onnxruntime, relative to the larger of 1 and the largest output."""
_NUMBERS = {"tensor(float)": np.float32, "tensor(double)": np.float64}


@dataclass(frozen=True)
class Network:
    """What is verified.

    ask: float32 (N, n) to (N, K), row by row through onnxruntime on the file itself, operation by operation.
    ask_fused: the same with onnxruntime's own rewriting of the graph, which is how others will run the file. It sums in another
        order, and now and then changes what the file says (a Pad of zeros before a MaxPool, say), so a counterexample is held to
        both.
    module: the same function on flat inputs in torch, for the search and for bounds, in evaluation mode; None where the
        graph could not be converted, and `why` says so.
    inputs, outputs: n and K. digest: sha256 of the file. seconds, numbers: what one row in torch takes, about: time there and back,
        and numbers that its layers make.
    """

    name: str
    digest: str
    inputs: int
    outputs: int
    ask: Callable[[np.ndarray], np.ndarray]
    ask_fused: Callable[[np.ndarray], np.ndarray]
    module: nn.Module | None
    why: str = ""
    seconds: float = 0.0
    numbers: int = 1


class Flat(nn.Module):
    """A network between a flat input (N, n) and a flat output (N, K)."""

    def __init__(self, net: nn.Module, row: tuple[int, ...], outputs: int, flatten: bool) -> None:
        super().__init__()
        self.net, self.row, self.outputs, self.flatten = net, row, outputs, flatten

    def forward(self, x: Tensor) -> Tensor:
        """The outputs of every row."""
        y = self.net(x if len(self.row) == 1 else x.reshape(-1, *self.row))
        return y.reshape(-1, self.outputs) if self.flatten else y


def load_network(path: Path) -> Network:
    """The network in an .onnx or .onnx.gz file.

    Raises:
        UsageError: onnx or onnxruntime is missing, the file is damaged or reaches outside of its folder, or it has several
            inputs, inputs that are no floats, or axes whose size is left open.
    """
    try:
        import onnxruntime

        from robustly.adapters.onnx_files import read_onnx
        from robustly.adapters.onnx_graph import refuse_inputs
    except ImportError as error:
        raise UsageError(f"{path} needs onnx and onnxruntime: pip install robustly[onnx]") from error
    proto, digest = read_onnx(path)
    session = _session(proto, path, onnxruntime, fused=False)
    refuse_inputs(path, len(session.get_inputs()))
    entry, end = session.get_inputs()[0], session.get_outputs()[0]
    if entry.type not in _NUMBERS:
        what = "integers" if "int" in entry.type else entry.type
        raise UsageError(f"{path} takes {what}; a property is about a network of floating-point inputs. Export it so.")
    shape = _shape(path, entry.shape)
    row = shape[1:] if shape[0] == 1 and len(shape) > 1 else shape
    ask = _asker(session, entry.name, end.name, shape, _NUMBERS[entry.type])
    fused = _asker(_session(proto, path, onnxruntime, fused=True), entry.name, end.name, shape, _NUMBERS[entry.type])
    try:
        found, seconds = _timed(ask, math.prod(shape))
    except Exception as error:
        raise UsageError(f"onnxruntime cannot run {path}: {str(error).strip()[:300]}") from error
    module, why = _twin(proto, entry.name, end.name, row, ask)
    numbers = 1 if module is None else _numbers(module, math.prod(shape))
    return Network(path.name, digest, math.prod(shape), found.shape[1], ask, fused, module, why, 3 * seconds, numbers)


def _timed(ask: Callable[[np.ndarray], np.ndarray], inputs: int) -> tuple[np.ndarray, float]:
    """The answer to zeros, and the seconds of work it takes: the lesser of two, as the first run also sets up."""
    zeros = np.zeros((1, inputs), np.float32)
    begin = time.process_time()
    ask(zeros)
    middle = time.process_time()
    found = ask(zeros)
    return found, min(middle - begin, time.process_time() - middle)


def _numbers(module: nn.Module, inputs: int) -> int:
    """How many numbers the layers make of one row."""
    made = [inputs]
    leaves = [m for m in module.modules() if not list(m.children())]
    hooks = [m.register_forward_hook(lambda m, args, out: made.append(out.numel())) for m in leaves]
    try:
        with torch.no_grad():
            module(torch.zeros(1, inputs))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(made)


def _session(proto: Any, path: Path, onnxruntime: Any, fused: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UsageError(f"onnxruntime cannot run {path}: {str(error).strip()[:300]}") from error


def _shape(path: Path, declared: list[Any]) -> tuple[int, ...]:
    """The shape of one input; an open first axis is the batch."""
    sizes = [1 if i == 0 and not _sized(size) else size for i, size in enumerate(declared)]
    if not sizes or not all(map(_sized, sizes)):
        raise UsageError(f"{path} leaves the size of an input axis open: {declared}. Export it with fixed sizes.")
    return tuple(sizes)


def _sized(size: Any) -> bool:
    return isinstance(size, int) and size > 0


def _asker(
    session: Any, start: str, end: str, shape: tuple[int, ...], kind: type
) -> Callable[[np.ndarray], np.ndarray]:
    def ask(x: np.ndarray) -> np.ndarray:
        rows = [session.run([end], {start: v.reshape(shape).astype(kind)})[0].reshape(-1) for v in x.astype(np.float32)]
        return np.stack(rows)

    return ask


def _twin(
    proto: Any, start: str, end: str, row: tuple[int, ...], ask: Callable[[np.ndarray], np.ndarray]
) -> tuple[nn.Module | None, str]:
    """The graph in torch if it agrees with onnxruntime on rows that are batched in torch and alone there; and why not."""
    from robustly.adapters.onnx_graph import converted
    from robustly.adapters.onnx_layers.bound import UnsupportedError

    try:
        net = converted(proto, start, end, row).float()
    except UnsupportedError as error:
        return None, str(error)
    draw = np.random.default_rng(0)
    rows = np.stack([make(math.prod(row)) for make in (draw.random, draw.random, draw.standard_normal)])
    rows = rows.astype(np.float32)
    wanted = torch.from_numpy(ask(rows)).double()
    limit = AGREE * max(1.0, float(wanted.abs().max()))
    try:
        with torch.no_grad():
            shape = net(torch.from_numpy(rows.reshape(3, *row))).shape
            module = Flat(net, row, wanted.shape[1], len(shape) != 2).eval()
            got = module(torch.from_numpy(rows)).double()
    except Exception as error:
        return None, f"the graph does not run in torch on several rows ({type(error).__name__}: {str(error)[:100]})"
    if got.shape != wanted.shape or not float((got - wanted).abs().max()) <= limit:
        return None, f"the graph in torch differs from onnxruntime by more than {limit:g} on random inputs"
    return module, ""
