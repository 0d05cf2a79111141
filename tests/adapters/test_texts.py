"""Texts from files and from Python, of any characters."""

import csv
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustly.adapters.data import load_data
from robustly.core.errors import UsageError
from robustly.threats import Domain

ODD = ["a \u202egib\u202c text", "zero\u200bwidth", "👩\u200d🚀 emoji", "", "x" * 1_000_000, 'say "hi", then go']


@given(st.lists(st.text(max_size=20), min_size=2, max_size=6, unique=True))
def test_any_strings_make_data(texts: list[str]) -> None:
    data = load_data((texts, [i % 2 for i in range(len(texts))]))
    assert data.x == tuple(texts)
    assert (data.kind, data.domain, data.shape) == ("text", Domain(), ())
    assert len(set(data.ids)) == len(texts)
    assert data.ids[0] == hashlib.sha256(texts[0].encode("utf-8", "surrogatepass") + b"|0").hexdigest()[:16]


@pytest.mark.parametrize("kind", ["tsv", "csv", "jsonl"])
def test_files_of_texts_are_read_whole(tmp_path: Path, kind: str) -> None:
    path, labels = tmp_path / f"d.{kind}", ["pos", "neg", "pos", "neg", "neg", "pos"]
    limit = csv.field_size_limit()
    if kind == "tsv":
        path.write_text(
            "text\tlabel\n" + "".join(f"{t}\t{y}\n" for t, y in zip(ODD, labels, strict=True)), encoding="utf-8"
        )
    elif kind == "csv":
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file).writerows([["label", "text"], *zip(labels, ODD, strict=True)])
    else:
        path.write_text(
            "\n".join(json.dumps({"text": t, "label": y}) for t, y in zip(ODD, labels, strict=True)) + "\n\n",
            encoding="utf-8",
        )
    data = load_data(path)
    assert data.x == tuple(ODD)
    assert (data.y.tolist(), data.classes, data.source) == ([1, 0, 1, 0, 0, 1], ("neg", "pos"), str(path))
    assert any("1 texts are empty" in n for n in data.notes)
    assert csv.field_size_limit() == limit


def test_numbers_as_labels_stay_numbers(tmp_path: Path) -> None:
    (tmp_path / "d.tsv").write_text("text\tlabel\na\t2\nb\t0\n")
    assert load_data(tmp_path / "d.tsv").y.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("d.tsv", b"good film\t1\nbad film\t0\n", r"columns good film, 1; text and label.*text<tab>label"),
        ("d.csv", b"text,label\ngood\n", r'd\.csv, line 2: no "label"'),
        ("d.csv", b"text,label\n", "0 samples"),
        ("d.csv", "text,label\ncaf\xe9,1\n".encode("latin1"), r"not UTF-8: line 2 has the byte 0xe9.*iconv"),
        ("d.jsonl", b'{"text": "a", "label": 1}\n{"text": \n', r"line 2 is no JSON"),
        ("d.jsonl", b'{"text": "a", "label": 1}\n[1]\n', r"line 2 is no object"),
        ("d.jsonl", b'{"text": "a"}\n', r'line 1: no "label"\. Its columns are text'),
        ("d.jsonl", b'{"text": 3, "label": 1}\n', "input 0 is no text but a int"),
        ("d.jsonl", b"", "0 samples"),
    ],
)
def test_files_of_texts_that_are_wrong_name_the_line(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=told):
        load_data(tmp_path / name)
