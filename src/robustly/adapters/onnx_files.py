"""Read an ONNX file as bytes, with the weights it keeps beside itself, and nothing from anywhere else."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from robustly.adapters.packed import read_packed
from robustly.core.errors import UsageError


def read_onnx(path: Path) -> tuple[Any, str]:
    """The `ModelProto` of an .onnx or .onnx.gz file with all weights inside it, checked, and its sha256 (unpacked).

    Raises:
        UsageError: missing, damaged, invalid, or with weights outside its own folder, behind a link, or out of bounds.
    """
    import onnx

    content = read_packed(path, "model")
    total = hashlib.sha256(content)
    try:
        proto = onnx.load_model_from_string(content)
    except Exception as error:
        raise UsageError(f"{path} is damaged or not ONNX: {type(error).__name__}: {str(error)[:200]}") from error
    if not proto.HasField("graph"):
        raise UsageError(f"{path} is empty or not ONNX: it has no graph.")
    del proto.training_info[:]
    for tensor in _tensors(proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            total.update(_bring_in(tensor, path))
    try:
        onnx.checker.check_model(proto)
    except Exception as error:
        raise UsageError(f"{path} is not valid ONNX: {str(error).strip()[:300]}") from error
    return proto, total.hexdigest()


def _bring_in(tensor: Any, path: Path) -> bytes:
    """Put the bytes of an external tensor into it."""
    facts = {entry.key: entry.value for entry in tensor.external_data}
    file = _beside(path, facts.get("location", ""), tensor.name)
    try:
        offset, length = int(facts.get("offset", 0)), int(facts["length"]) if "length" in facts else None
    except ValueError:
        raise UsageError(f'{path}: weights "{tensor.name}" have a position that is no number: {facts}.') from None
    content = _read_part(file, offset, length, path)
    del tensor.external_data[:]
    tensor.ClearField("data_location")
    tensor.raw_data = content
    return content


def _beside(path: Path, location: str, name: str) -> Path:
    """The file in the model's own folder that `location` names, by no link and no detour."""
    parts = PurePosixPath(location).parts
    where = f'{path} keeps the weights "{name}" in "{location}"'
    remedy = "Save the model with its weights inside: onnx.save_model(model, path, save_as_external_data=False)."
    outside = (
        PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive or "\\" in location or "\0" in location
    )
    if not parts or outside or ".." in parts:
        raise UsageError(f"{where}, which is not in its own folder. Refused. {remedy}")
    file = path.parent.resolve() / location
    if not file.exists():
        raise UsageError(f"{where}, and there is no such file. Put it there. {remedy}")
    if file.resolve() != file:
        raise UsageError(f"{where}, which is a symbolic link. Refused. {remedy}")
    if not stat.S_ISREG(file.stat().st_mode) or file.stat().st_nlink > 1:
        raise UsageError(f"{where}, which is a hard link or no plain file. Refused. {remedy}")
    return file


def _read_part(file: Path, offset: int, length: int | None, path: Path) -> bytes:
    with open(os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        wanted = size - offset if length is None else length
        if offset < 0 or wanted < 0 or offset + wanted > size:
            raise UsageError(
                f"{path}: {file.name} has {size} bytes, but weights are said to lie at {offset} to {offset + wanted}."
            )
        stream.seek(offset)
        return stream.read(wanted)


def _tensors(proto: Any) -> Iterator[Any]:
    """Every tensor of a model: of its graph, of graphs inside nodes, and of its functions."""
    yield from _of_graph(proto.graph)
    for function in proto.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _of_graph(graph)
