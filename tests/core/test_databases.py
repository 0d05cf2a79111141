"""Files that lose nothing, and say what is wrong with them."""

import sqlite3

import pytest

from robustly.core.databases import open_database
from robustly.core.errors import RunError, UsageError

TABLES = "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY);"


def test_what_is_committed_is_there_again(tmp_path):
    db = open_database(tmp_path / "a.sqlite", TABLES, 1, "")
    db.execute("INSERT INTO facts VALUES ('x')")
    db.close()
    again = open_database(tmp_path / "a.sqlite", TABLES, 1, "")
    assert again.execute("SELECT name FROM facts").fetchall() == [("x",)]
    assert again.execute("PRAGMA synchronous").fetchone() == (2,)
    again.close()


def test_a_newer_layout_is_refused(tmp_path):
    open_database(tmp_path / "a.sqlite", TABLES, 2, "").close()
    with pytest.raises(UsageError, match="layout 2, this one knows 1"):
        open_database(tmp_path / "a.sqlite", TABLES, 1, "")


def test_a_damaged_file_is_told_with_the_rescue(tmp_path):
    (tmp_path / "a.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(RunError, match=r"is damaged.*Nothing was changed: keep a copy"):
        open_database(tmp_path / "a.sqlite", TABLES, 1, ": keep a copy.")


def test_a_file_that_cannot_be_opened_is_told(tmp_path):
    with pytest.raises(RunError, match="cannot open"):
        open_database(tmp_path / "none" / "a.sqlite", TABLES, 1, "")


def test_memory_for_none():
    db = open_database(None, TABLES, 1, "")
    assert isinstance(db, sqlite3.Connection)
    db.close()
