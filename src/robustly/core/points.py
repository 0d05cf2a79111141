"""Counterexamples on disk: one safetensors file each, with the input it was made from, named by the hash of its content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from robustly.core.errors import RunError

FOLDER = "counterexamples"


class Pair(NamedTuple):
    """A counterexample and the input it was made from: arrays shaped as one input, or texts."""

    adversarial: np.ndarray | str
    clean: np.ndarray | str


def pair_bytes(pair: Pair) -> bytes:
    """A pair as safetensors bytes; texts as their UTF-8 bytes under other names."""
    from safetensors.numpy import save

    if isinstance(pair.adversarial, str) and isinstance(pair.clean, str):
        return save({"adversarial_text": _utf8(pair.adversarial), "clean_text": _utf8(pair.clean)})
    return save({"adversarial": np.ascontiguousarray(pair.adversarial), "clean": np.ascontiguousarray(pair.clean)})


def _utf8(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)


def digest_of(content: bytes) -> str:
    """The name of a pair: sha256, 32 hex digits."""
    return hashlib.sha256(content).hexdigest()[:32]


def save_pair(folder: Path, content: bytes) -> str:
    """Write a pair so that a crash leaves either the whole file or none; returns its digest."""
    digest = digest_of(content)
    path = folder / FOLDER / f"{digest}.safetensors"
    if path.exists() and path.read_bytes() == content:
        return digest
    write_atomically(path, content)
    return digest


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside it, flush to disk, rename.

    Raises:
        RunError: the disk refused; names the path.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror or error}. What was committed before is kept.") from error


def read_pair(folder: Path, digest: str) -> Pair:
    """A counterexample with its clean input, as numpy arrays or texts.

    Raises:
        RunError: missing, or its content is not what its name says.
    """
    path = folder / FOLDER / f"{digest}.safetensors"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}.") from error
    if digest_of(content) != digest:
        raise RunError(f"{path} is damaged: its content does not match its name. Resume the run to compute it again.")
    return pair_of(content)


def pair_of(content: bytes) -> Pair:
    """The pair written by `pair_bytes`."""
    from safetensors.numpy import load

    loaded = load(content)
    if "adversarial_text" in loaded:
        texts = [loaded[k].tobytes().decode("utf-8", "surrogatepass") for k in ("adversarial_text", "clean_text")]
        return Pair(*texts)
    return Pair(loaded["adversarial"], loaded["clean"])
