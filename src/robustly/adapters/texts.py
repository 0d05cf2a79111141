"""Texts in: a .tsv, .csv or .jsonl file with the columns text and label, or strings."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robustly.adapters.raw import Raw
from robustly.core.errors import UsageError

SUFFIXES = (".tsv", ".csv", ".jsonl")
_LONGEST = 1 << 30  # characters in one field of a .csv


def read_texts(path: Path) -> Raw:
    """The texts and labels of a file, in its order.

    Raises:
        UsageError: not UTF-8, no such columns, a line that can't be read; names the line.
    """
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{path} is not UTF-8: line {line} has the byte 0x{error.object[error.start]:02x}. "
            f"Convert it, say iconv -f latin1 -t utf-8 {path.name}."
        ) from None
    rows = _of_jsonl(path, content) if path.suffix == ".jsonl" else _of_table(path, content)
    texts, labels = [], []
    for line, row in rows:
        for column in ("text", "label"):
            if column not in row or row[column] is None:
                found = ", ".join(str(k) for k in row if k is not None)
                raise UsageError(
                    f'{path}, line {line}: no "{column}". Its columns are {found or "none"}; text and label are wanted.'
                )
        texts.append(row["text"])
        labels.append(row["label"])
    if labels and all(isinstance(v, str) and v.strip().isdigit() for v in labels):
        labels = [int(v) for v in labels]
    return Raw(tuple(texts), labels, path.stem, text=True)


def checked_texts(texts: Sequence[Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Texts as a tuple, and notes.

    Raises:
        UsageError: none at all, or one that is no string; names the index.
    """
    if not len(texts):
        raise UsageError("the data have 0 samples: there is nothing to audit. Check the path or the selection.")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise UsageError(f"input {i} is no text but a {type(text).__name__} ({str(text)[:40]}). Give strings only.")
    empty = sum(not text for text in texts)
    return tuple(str(t) for t in texts), (f"{empty} texts are empty",) if empty else ()


def _of_table(path: Path, content: str) -> Iterable[tuple[int, Mapping[str, Any]]]:
    quoting, mark = (csv.QUOTE_NONE, "\t") if path.suffix == ".tsv" else (csv.QUOTE_MINIMAL, ",")
    before = csv.field_size_limit(_LONGEST)
    try:
        reader = csv.DictReader(io.StringIO(content, newline=""), delimiter=mark, quoting=quoting)
        header = list(reader.fieldnames or [])
        if "text" not in header or "label" not in header:
            raise UsageError(
                f"{path} has the columns {', '.join(header)[:200] or '(none)'}; text and label are wanted. "
                f"Write them as its first line: text{'<tab>' if mark == chr(9) else mark}label."
            )
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UsageError(f"{path} can't be read as a table: {error}.") from error
    finally:
        csv.field_size_limit(before)


def _of_jsonl(path: Path, content: str) -> Iterable[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(f"{path}, line {number} is no JSON: {error.msg} at character {error.colno}.") from None
        if not isinstance(row, Mapping):
            raise UsageError(
                f'{path}, line {number} is no object. Write {{"text": "...", "label": "..."}} on each line.'
            )
        yield number, row
