"""A `torch.export` file (.pt2) as a `Model`.

`torch.export.load` runs code from a prepared file: it falls back to unsafe unpickling, resolves operators by dotted
names in torch, evaluates shape expressions, and starts compiled libraries. So the file is read first, and only what a
network needs is let through.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from robustly.adapters.modules import CPU_NUMBERS, wanted_device
from robustly.adapters.outputs import Call, scores_of
from robustly.adapters.sizes import in_parts
from robustly.core.errors import UsageError
from robustly.oracle.model import Model

_TARGET = re.compile(
    r"torch\.ops\.aten\.(?!from_file)\w+\.\w+|torch\.sym_(?:max|min|int|float|not|ite|sqrt)|math\.(?:ceil|floor|trunc)"
    r"|_operator\.(?:add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|getitem)"
)
_SYMBOL = re.compile(r"Symbol\('\w+'(?:, \w+=(?:True|False))*\)")
_TOKEN = re.compile(r"\d+|[a-z]\d+|Max|Min|Mod|FloorDiv|CeilDiv|[-+*/(),<>=&|.]")
_MEMBER = re.compile(
    r"(?:archive_format|archive_version|byteorder|version|\.data/\w+|models/\w+\.json|data/sample_inputs/\w+\.pt"
    r"|data/(?:weights|constants)/\w+\.json|data/weights/weight_\d+|data/constants/tensor_\d+|extra/.*)"
)
_PLAIN_SPECS = ("builtins.tuple", "builtins.list", "builtins.dict", None)


def from_exported(path: Path, trust_pickle: bool = False, device: str | None = None) -> Model:
    """A model of an exported program with one input; a batch size fixed at export is filled up.

    Raises:
        UsageError: damaged, needs code to load and isn't trusted, was exported in training mode, or has several inputs.
    """
    content = path.read_bytes()
    if not trust_pickle and (fault := _what_needs_code(content)):
        raise UsageError(
            f"{path} {fault}, and loading that would run whatever its author put there. "
            "Export the network again with torch.export.save; or, if you trust the author, say --trust-pickle "
            "(trust_pickle=True)."
        )
    program = _loaded(path, content)
    _refuse_training(path, program)
    where = wanted_device(device or "cpu")
    module = program.module(check_guards=False).to(where)  # guards are code in the file; a wrong shape raises by itself
    size = _fixed_batch(path, program)
    dtype = _input(path, program).dtype
    raw: Callable[[Any], Any] = lambda z: module(z.to(dtype))  # noqa: E731
    notes = ("a torch.export file: scores and gradients through it; no bounds, as its layers can't be read",)
    if size:
        raw, notes = (
            in_parts(raw, size),
            (*notes, f"the batch size {size} is fixed in the file: calls are filled up to it"),
        )
    return Model(
        call=Call(raw, scores_of),
        numbers=CPU_NUMBERS if where.type == "cpu" else 0,
        name=path.stem,
        digest=hashlib.sha256(content).hexdigest(),
        device=where,
        notes=notes,
    )


def _loaded(path: Path, content: bytes) -> torch.export.ExportedProgram:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about formats of other versions of torch
            return torch.export.load(io.BytesIO(content))
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0][:300]
        raise UsageError(f"{path} cannot be loaded as a torch.export file: {type(error).__name__}: {first}") from error


def _what_needs_code(content: bytes) -> str | None:
    """What in the file would run code when loaded, as the end of a sentence; None where nothing would."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            member = name.partition("/")[2]
            if not _MEMBER.fullmatch(member):
                return f"holds {member or name}, which is no plain part of a network"
            if member.endswith(".pt") and not _plain_pickle(archive.read(name)):
                return f"holds a pickle that needs code ({member})"
            if member.endswith(".json") and (fault := _fault_in(json.loads(archive.read(name)))):
                return fault
    return None


def _plain_pickle(content: bytes) -> bool:
    if not content:
        return True
    try:
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:
        return False
    return True


def _fault_in(tree: Any) -> str | None:
    for key, value in _pairs(tree):
        if key == "target" and not _TARGET.fullmatch(str(value)):
            return f'calls "{value}", which is no tensor operation'
        if key == "expr_str" and not _plain_arithmetic(str(value)):
            return f'has the shape "{str(value)[:80]}", which is no plain arithmetic'
        if key == "use_pickle" and value:
            return "holds weights as pickles"
        if key == "path_name" and not re.fullmatch(r"(?:weight|tensor)_\d+", str(value)):
            return f'names a part "{value}"'
        if key in ("in_spec", "out_spec") and value and not _plain_spec(str(value)):
            return "packs its inputs or outputs in a class of its own"
    return None


def _plain_arithmetic(text: str) -> bool:
    return all(_TOKEN.fullmatch(word) for word in re.findall(r"\w+|\S", _SYMBOL.sub("s0", text)))


def _plain_spec(text: str) -> bool:
    return all(value in _PLAIN_SPECS for key, value in _pairs(json.loads(text)) if key == "type")


def _pairs(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a JSON tree with its value."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield key, value
            yield from _pairs(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _pairs(value)


def _refuse_training(path: Path, program: torch.export.ExportedProgram) -> None:
    for node in program.graph.nodes:
        target = str(node.target)
        drops = "dropout" in target and len(node.args) > 2 and node.args[2] is True
        batch = target.startswith("aten.batch_norm") and len(node.args) > 5 and node.args[5] is True
        if drops or batch or "_native_batch_norm_legit_functional" in target:
            raise UsageError(
                f"{path} was exported in training mode ({target} at {node.name}). Write model.eval() before "
                "torch.export.export."
            )


def _input(path: Path, program: torch.export.ExportedProgram) -> torch.Tensor:
    names = list(program.graph_signature.user_inputs)
    if len(names) != 1:
        raise UsageError(
            f"{path} takes {len(names)} inputs ({', '.join(map(str, names))}); a model of one input is wanted."
        )
    return next(node.meta["val"] for node in program.graph.nodes if node.name == names[0])


def _fixed_batch(path: Path, program: torch.export.ExportedProgram) -> int:
    """The batch size the file insists on, 0 where it takes any."""
    first = next(iter(_input(path, program).shape), 0)
    return first if isinstance(first, int) else 0
