"""What was sent and what was answered, on disk before it is used: SQLite (WAL, synchronous FULL), one process at a time.

A question is entered before it is sent, so that a process killed at any moment has never spent more than it remembers;
an answer is entered before anybody sees it, so that it is never paid again.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from robustly.core.databases import lock, open_database
from robustly.core.errors import RunError, UsageError

LAYOUT = 1
_RESCUE = (
    ": the answers in it are paid for, so keep a copy and try `sqlite3 FILE .recover`, or start anew in another folder."
)
AT_ONCE = 500
"""Keys looked up in one statement."""
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sends (number INTEGER PRIMARY KEY, key BLOB NOT NULL, owner TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, said TEXT NOT NULL, sends INTEGER NOT NULL) WITHOUT ROWID;
"""


class Send(NamedTuple):
    """A question about to be sent, on the account of an example (its content hash) or of nobody ("")."""

    key: bytes
    owner: str


class Known(NamedTuple):
    """An answer: what was said, as a JSON value, and how often its question was sent."""

    said: Any
    sends: int


class Kept:
    """The store of one endpoint. path: None keeps it in memory."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = (
            None if path is None else lock(path.with_name(path.name + ".lock"), str(path), "keep the answers elsewhere")
        )
        try:
            self._db = open_database(path, _TABLES, LAYOUT, _RESCUE)
        except BaseException:
            self._unlock()
            raise
        self.accounts: Counter[str] = Counter(
            dict(self._db.execute("SELECT owner, COUNT(*) FROM sends GROUP BY owner"))
        )
        self.answered: int = self._db.execute("SELECT COUNT(*) FROM answers").fetchone()[0]
        open_ones = "SELECT key, COUNT(*) FROM sends WHERE key NOT IN (SELECT key FROM answers) GROUP BY key"
        self.open: Counter[bytes] = Counter(dict(self._db.execute(open_ones)))
        self.first_tries: int = self._db.execute("SELECT COUNT(DISTINCT key) FROM sends").fetchone()[0]

    @property
    def sent(self) -> int:
        """All questions ever sent, retries included."""
        return self.accounts.total()

    @property
    def retries(self) -> int:
        """How many of them were not the first of their kind."""
        return self.sent - self.first_tries

    def known(self, keys: Sequence[bytes]) -> dict[bytes, Known]:
        """The answers there are to some questions."""
        out: dict[bytes, Known] = {}
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            marks = ",".join("?" * len(some))
            query = f"SELECT key, said, sends FROM answers WHERE key IN ({marks})"
            out.update((key, Known(json.loads(said), sends)) for key, said, sends in self._db.execute(query, some))
        return out

    def enter(self, sends: Iterable[Send] = (), answers: Iterable[tuple[bytes, Any, int]] = ()) -> None:
        """Begin to write questions about to be sent and answers that came; `commit` puts them on disk, all or none.

        Raises:
            RunError: the disk refused.
        """
        rows = [(key, json.dumps(said), count) for key, said, count in answers]
        with self._whole():
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO sends (key, owner) VALUES (?, ?)", sends)
            self._db.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)

    def commit(self) -> None:
        """Put on disk what was entered. May run in another thread, as long as nothing else is asked of the store.

        Raises:
            RunError: the disk refused.
        """
        with self._whole():
            self._db.execute("COMMIT")

    @contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise RunError(f"cannot write {self.path}: {error}. What was answered before is kept.") from error

    def fact(self, name: str) -> Any:
        """A stored fact, or None."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def keep_fact(self, name: str, value: Any) -> None:
        """Store a fact (JSON)."""
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def belong(self, identity: str, url: str) -> None:
        """Refuse a file with the answers of another endpoint, or of the same one asked otherwise.

        Raises:
            UsageError: it is one.
        """
        found = self.fact("endpoint")
        if found is None or not self.answered:
            self.keep_fact("endpoint", {"identity": identity, "url": url})
        elif found["identity"] != identity:
            raise UsageError(
                f"{self.path} keeps the answers of {found['url']} under other settings (url, headers, request or answer "
                "differ). Use the settings it was made with, or another file or folder."
            )

    def close(self) -> None:
        """Close the file and give up the lock."""
        self._db.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
