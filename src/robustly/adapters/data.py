"""Data from whatever the user has: a word on the command line, or (x, y)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from robustly.adapters.arrays import read_array
from robustly.adapters.labels import read_labels
from robustly.adapters.raw import Raw
from robustly.core.errors import UsageError, nearest
from robustly.core.rows import Batch
from robustly.threats.base import Domain

FORMS = (
    "zoo:NAME, an .npz or .safetensors file with x and y, a folder of images in class folders, "
    "a .tsv, .csv or .jsonl file with text and label, or a datasets directory"
)


@dataclass(frozen=True)
class Data:
    """Examples and their labels, checked.

    x: float32 (N, ...) within `domain`, or a tuple of N texts. y: int64 (N,). classes: names by label, empty where
    unknown. ids: one a row, 16 hex digits of sha256 over the float32 bytes (or UTF-8) and the label: the same wherever
    the example stands; exact copies are told apart by their count. digest: sha256 over ids and shape. notes: what was
    detected or assumed. declared: the domain was declared with the data, not detected. turned: images came with their
    channels last; `x` has them first.
    """

    x: Batch
    y: Tensor
    kind: Literal["image", "array", "text"]
    classes: tuple[str, ...]
    name: str
    digest: str
    ids: tuple[str, ...]
    domain: Domain
    source: str | None
    notes: tuple[str, ...]
    declared: bool = False
    turned: bool = False

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input; empty for texts."""
        return tuple(self.x.shape[1:]) if isinstance(self.x, Tensor) else ()


def load_data(
    source: str | Path | tuple[Any, Any] | Data,
    *,
    limit: int | None = None,
    classes: Sequence[str] = (),
    range: tuple[float, float] | None = None,
    layout: str | None = None,
) -> Data:
    """Data of a word (see `FORMS`) or of (x, y): tensors, numpy arrays, or a list of texts.

    limit: only so many examples: the first, or evenly over the class folders. classes: names in the order of the
    model's scores. range: lowest and highest input value; where it isn't declared it is detected, which the notes say.
    layout: "chw" or "hwc", where the channels of images are; where it isn't said the shape tells, or it is asked for.

    Raises:
        UsageError: anything that would make the audit say something untrue; names the value and the remedy.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit must be at least 1, got {limit}. Leave it out for all examples.")
    if isinstance(source, Data):
        return source if limit is None else first(source, limit)
    raw = _raw(source, tuple(classes), limit)
    word = str(source) if isinstance(source, (str, Path)) else None
    data = _checked(raw, tuple(classes), range, layout, word)
    return data if limit is None else first(data, limit)


def first(data: Data, count: int) -> Data:
    """The first `count` examples."""
    if count >= len(data):
        return data
    notes = data.notes
    met, known = len(data.y[:count].unique()), len(data.y.unique())
    if met < known and bool((data.y.diff() >= 0).all()):
        told = f"the labels are in order, so the first {count} examples are of {met} of the {known} classes"
        notes = (*notes, f"{told}: shuffle the data")
    ids = data.ids[:count]
    return replace(data, x=data.x[:count], y=data.y[:count], ids=ids, digest=_digest(ids, data.shape), notes=notes)


def _raw(source: Any, classes: tuple[str, ...], limit: int | None) -> Raw:
    if isinstance(source, (str, Path)):
        return _of_word(str(source), classes, limit)
    if isinstance(source, (tuple, list)) and len(source) == 2:
        return Raw(source[0], source[1], "data")
    given = f"a {type(source).__name__}" + (f" of {len(source)}" if isinstance(source, (tuple, list)) else "")
    raise UsageError(f"data are (x, y) or a word, got {given}. Words: {FORMS}.")


def _of_word(word: str, classes: tuple[str, ...], limit: int | None) -> Raw:
    if word.startswith("zoo:"):
        return _of_zoo(word.removeprefix("zoo:"))
    path = Path(word)
    if not path.exists():
        from robustly import zoo

        hint = nearest(word, [f"zoo:{name}" for name in zoo.data_names()])
        raise UsageError(f'there is no "{word}". Data are {FORMS}.{hint}')
    if path.is_dir():
        from robustly.adapters.folders import read_folder
        from robustly.adapters.hub import is_dataset, read_dataset

        return read_dataset(path, limit) if is_dataset(path) else read_folder(path, classes, limit)
    if path.stat().st_size == 0:
        raise UsageError(f"{path} is empty (0 bytes): it has 0 samples.")
    from robustly.adapters import tables, texts

    if path.suffix == ".npz":
        return tables.read_npz(path)
    if path.suffix == ".safetensors":
        return tables.read_safetensors(path)
    if path.suffix in texts.SUFFIXES:
        return texts.read_texts(path)
    raise UsageError(f'cannot read data from "{path.name}". Data are {FORMS}.')


def _of_zoo(name: str) -> Raw:
    from robustly import zoo
    from robustly.zoo.load import images

    x, y, classes = images(name)
    return Raw(x, y, name, classes, range=zoo.describe(name).domain, layout="chw")


def _checked(
    raw: Raw, classes: tuple[str, ...], range: tuple[float, float] | None, layout: str | None, word: str | None
) -> Data:
    if raw.range is not None and range is not None and tuple(map(float, range)) != raw.range:
        raise UsageError(
            f"{raw.name} is read in the range ({raw.range[0]:g}, {raw.range[1]:g}), but range=({range[0]:g}, "
            f"{range[1]:g}) is declared. Leave the range out, or give the data as arrays in that range."
        )
    if raw.layout is not None and layout not in (None, raw.layout):
        raise UsageError(
            f'{raw.name} is read as "{raw.layout}", but layout="{layout}" is declared. Leave the layout out.'
        )
    if raw.text or _is_text(raw.x):
        from robustly.adapters.texts import checked_texts

        texts, notes = checked_texts(raw.x)
        x, kind, domain, turned = texts, "text", Domain(), False
    else:
        x, kind, domain, notes, turned = read_array(raw.x, raw.range or range, layout or raw.layout)
    labels = read_labels(raw.y, len(x), classes or raw.classes)
    ids, copies = _ids(x, labels.y)
    notes = (*raw.notes, *notes, *labels.notes)
    if copies:
        notes = (*notes, f"{copies} of {len(x)} examples are exact copies of earlier ones, and count each")
    shape = tuple(x.shape[1:]) if isinstance(x, Tensor) else ()
    return Data(
        x,
        labels.y,
        kind,
        labels.classes,
        raw.name,
        _digest(ids, shape),
        ids,
        domain,
        word,
        notes,
        declared=kind != "text" and (raw.range or range) is not None,
        turned=turned,
    )


def _is_text(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(isinstance(v, str) for v in x)
    kind = getattr(getattr(x, "dtype", None), "kind", "")
    return kind == "U" or (kind == "O" and any(isinstance(v, str) for v in x))


def _ids(x: Batch, y: Tensor) -> tuple[tuple[str, ...], int]:
    """An identity a row, and how many rows repeat an earlier one."""
    seen: dict[str, int] = {}
    ids = []
    for row, label in zip(x, y.tolist(), strict=True):
        content = row.numpy().tobytes() if isinstance(row, torch.Tensor) else row.encode("utf-8", "surrogatepass")
        base = hashlib.sha256(content + f"|{label}".encode())
        number = seen[base.hexdigest()] = seen.get(base.hexdigest(), 0) + 1
        if number > 1:
            base.update(f"|{number}".encode())
        ids.append(base.hexdigest()[:16])
    return tuple(ids), len(ids) - len(seen)


def _digest(ids: Sequence[str], shape: tuple[int, ...]) -> str:
    return hashlib.sha256(f"{shape}:{','.join(ids)}".encode()).hexdigest()
