"""An ONNX file as a `Model`: scores by onnxruntime, gradients through a torch twin of the graph where it converts.

The twin is only for the search: the judge asks without gradients, and so always the file itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from robustly.adapters.modules import CPU_NUMBERS
from robustly.adapters.onnx_files import read_onnx
from robustly.adapters.onnx_graph import converted, refuse_inputs
from robustly.adapters.onnx_layers.bound import UnsupportedError
from robustly.adapters.outputs import Call, scores_of
from robustly.adapters.sizes import in_parts
from robustly.core.errors import UsageError
from robustly.oracle.model import Access, Model

AGREE = 1e-4  # most the twin may differ from onnxruntime, relative to the larger of 1 and the largest score
_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


class _Door(NamedTuple):
    """What the session takes and gives. batch: the size it insists on, 0 for any."""

    session: Any
    start: str
    end: str
    dtype: type
    shape: tuple[int | None, ...]
    batch: int


def from_onnx(path: Path, device: str | None = None) -> Model:
    """A model of an ONNX classifier with one floating-point input.

    Raises:
        UsageError: onnx isn't installed, the file is damaged or reaches outside its folder, or isn't such a classifier.
    """
    try:
        import onnx  # noqa: F401 - said here, at the border, rather than deep inside
        import onnxruntime
    except ImportError as error:
        raise UsageError(f"{path} needs onnx and onnxruntime: pip install robustly[onnx]") from error
    if device not in (None, "cpu"):
        raise UsageError(f'ONNX models run on the CPU here, but device="{device}" was asked for. Write device="cpu".')
    proto, digest = read_onnx(path)
    door, notes = _door(path, proto, onnxruntime)
    twin, why = _twin(proto, door)
    ask = _asker(door)
    if door.batch:
        ask = in_parts(ask, door.batch)
        notes = (*notes, f"the batch size {door.batch} is fixed in the file: calls are filled up to it")
    notes += ("ONNX: scores by onnxruntime, gradients through a torch twin that agrees with it",) if twin else (why,)
    return Model(
        call=Call(_raw(ask, twin, door), scores_of),
        access=Access.GRADIENTS if twin else Access.SCORES,
        numbers=CPU_NUMBERS,
        name=path.stem,
        digest=digest,
        module=twin if door.dtype is not np.float16 else None,
        notes=notes,
    )


def _door(path: Path, proto: Any, onnxruntime: Any) -> tuple[_Door, tuple[str, ...]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # torch wants the cores in between
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UsageError(f"onnxruntime cannot run {path}: {str(error).strip()[:300]}") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    refuse_inputs(path, len(inputs))
    if inputs[0].type not in _TYPES:
        raise UsageError(f"{path} takes {inputs[0].type}; a model of floating-point inputs is wanted.")
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in inputs[0].shape)
    end, notes = _output(path, outputs)
    door = _Door(session, inputs[0].name, end, _TYPES[inputs[0].type], shape, (shape[0] or 0) if shape else 0)
    if not door.batch and not _takes(door, 3) and _takes(door, 1):
        door = door._replace(batch=1)
    return door, notes


def _output(path: Path, outputs: Any) -> tuple[str, tuple[str, ...]]:
    floats = [o for o in outputs if o.type in _TYPES]
    if not floats:
        told = ", ".join(f"{o.name} {o.type}" for o in outputs)
        hint = " Export it with options={'zipmap': False}." if "map" in told else ""
        raise UsageError(f"{path} gives no scores, only {told}.{hint}")
    chosen = next((o for o in floats if "logit" in o.name.lower()), floats[0])
    if len(outputs) == 1:
        return chosen.name, ()
    return chosen.name, (f'of the outputs {", ".join(o.name for o in outputs)}, "{chosen.name}" is taken as scores',)


def _asker(door: _Door) -> Callable[[Tensor], Tensor]:
    def ask(z: Tensor) -> Tensor:
        values = np.ascontiguousarray(z.detach().cpu().numpy().astype(door.dtype, copy=False))
        return torch.from_numpy(door.session.run([door.end], {door.start: values})[0])

    return ask


def _raw(ask: Callable[[Tensor], Tensor], twin: nn.Module | None, door: _Door) -> Callable[[Any], Tensor]:
    dtype = torch.from_numpy(np.empty(0, door.dtype)).dtype

    def raw(z: Any) -> Tensor:
        if twin is not None and torch.is_grad_enabled() and z.requires_grad:
            return twin(z.to(dtype))
        return ask(z)

    return raw


def _twin(proto: Any, door: _Door) -> tuple[nn.Module | None, str]:
    """The graph in torch if it agrees with onnxruntime on random inputs, else None; and why not."""
    rest = "gradients not available, query attacks only"
    try:
        twin = converted(proto, door.start, door.end)
    except UnsupportedError as error:
        return None, f"{error}: {rest}"
    ask = _asker(door)
    for z in _trials(door):
        try:
            wanted = ask(z)
        except Exception as error:
            return None, f"onnxruntime raised on a random input of shape {tuple(z.shape)} ({str(error)[:100]}): {rest}"
        try:
            with torch.no_grad():
                got = twin(z)
        except Exception as error:
            return None, f"the graph does not run in torch ({type(error).__name__}: {str(error)[:100]}): {rest}"
        limit = AGREE * (100 if door.dtype is np.float16 else 1) * max(1.0, wanted.abs().max().item())
        if got.shape != wanted.shape or not (got - wanted).abs().max().item() <= limit:
            return None, f"the graph in torch differs from onnxruntime by more than {limit:g}: {rest}"
    return twin, ""


def _trials(door: _Door) -> list[Tensor]:
    """Random inputs that draw nothing from torch's or numpy's global streams: images in [0, 1], and normal ones."""
    draw = np.random.default_rng(0)
    shape = _row_shape(door)
    rows = (door.batch,) if door.batch else (3, 1)
    kinds: list[Callable[..., np.ndarray]] = [draw.random, draw.standard_normal]
    return [torch.from_numpy(make((n, *shape)).astype(door.dtype)) for n in rows for make in kinds]


def _row_shape(door: _Door) -> tuple[int, ...]:
    return tuple(size or 32 for size in door.shape[1:])  # a free axis is tried at 32


def _takes(door: _Door, rows: int) -> bool:
    try:
        _asker(door)(torch.zeros(rows, *_row_shape(door), dtype=torch.float32))
    except Exception:
        return False
    return True
