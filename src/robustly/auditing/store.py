"""Where a run is kept: a SQLite file (WAL, synchronous FULL) in the run folder, or memory.

A batch is committed whole, its counterexamples before it, so that a process killed at any moment loses at most the batch
in flight. One process at a time: a lock that the system releases when its holder dies.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from robustly.auditing.findings import CLEAN, Finding, unheard
from robustly.core.databases import lock, open_database
from robustly.core.errors import RunError
from robustly.core.points import digest_of, read_pair, save_pair

LAYOUT = 1
_RESCUE = ". Keep the folder; record.json and counterexamples/ may still be read with `robustly show`. Start again in a new folder."
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS batches (eps REAL, stage INTEGER, batch INTEGER, asked INTEGER, forward INTEGER, backward INTEGER,
    seconds REAL, judged_misses INTEGER, PRIMARY KEY (eps, stage, batch));
CREATE TABLE IF NOT EXISTS clean (example INTEGER PRIMARY KEY, scores BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS findings (eps REAL, stage INTEGER, example INTEGER, body TEXT NOT NULL,
    PRIMARY KEY (eps, stage, example));
"""


class Batch(NamedTuple):
    """The cost of one committed batch."""

    eps: float
    stage: int
    batch: int
    asked: int
    forward: int
    backward: int
    seconds: float
    judged_misses: int


class Store:
    """The committed part of a run. folder: None keeps it in memory, counterexamples included (`points`)."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.points: dict[str, bytes] = {}
        self._lock = lock(folder / "run.lock", str(folder), "choose another folder with --out") if folder else None
        try:
            self._db = open_database(folder / "run.sqlite" if folder else None, _TABLES, LAYOUT, _RESCUE)
        except BaseException:
            self._unlock()
            raise

    def fact(self, name: str) -> Any:
        """A stored fact, or None."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def keep_fact(self, name: str, value: Any) -> None:
        """Store a fact (JSON)."""
        with self._guard():
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def keep_point(self, content: bytes) -> str:
        """Store a counterexample; returns its digest. On disk before the batch that names it is committed."""
        if self.folder:
            return save_pair(self.folder, content)
        digest = digest_of(content)
        self.points[digest] = content
        return digest

    def commit(self, batch: Batch, findings: Sequence[Finding], clean: Mapping[int, bytes] | None = None) -> None:
        """Store a batch with its findings (and clean scores by example), whole or not at all.

        Raises:
            RunError: the disk refused.
        """
        with self._guard():
            self._db.execute("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?)", batch)
            self._db.executemany(
                "INSERT INTO findings VALUES (?, ?, ?, ?)",
                [(f.eps, f.stage, f.index, f.model_dump_json(exclude_defaults=True)) for f in findings],
            )
            self._db.executemany("INSERT INTO clean VALUES (?, ?)", list((clean or {}).items()))

    def clean_scores(self) -> dict[int, bytes]:
        """The clean scores of each example as float32 bytes."""
        return dict(self._db.execute("SELECT example, scores FROM clean"))

    def batches(self) -> list[Batch]:
        """All committed batches in order."""
        return [Batch(*row) for row in self._db.execute("SELECT * FROM batches ORDER BY rowid")]

    def findings(self) -> list[Finding]:
        """All committed findings in the order they were made."""
        rows = self._db.execute("SELECT body FROM findings ORDER BY rowid")
        return [Finding.model_validate_json(row[0]) for row in rows]

    def quarantine(self) -> int:
        """Forget batches whose counterexamples are missing or damaged, so that they are computed again; how many."""
        if not self.folder:
            return 0
        torn: set[tuple[float, int]] = set()
        for found in self.findings():
            if found.point:
                try:
                    read_pair(self.folder, found.point)
                except RunError:
                    torn.add((found.eps, found.stage))
        with self._guard():
            for eps, stage in torn:
                # everything from that stage on rests on its verdicts
                for table in ("batches", "findings"):
                    self._db.execute(f"DELETE FROM {table} WHERE eps = ? AND stage >= ?", (eps, stage))
                    self._db.execute(f"DELETE FROM {table} WHERE eps != ? AND stage >= 0", (eps,))
        return len(torn)

    def forget_fact(self, name: str) -> None:
        """Forget a fact."""
        with self._guard():
            self._db.execute("DELETE FROM facts WHERE name = ?", (name,))

    def forget_cut(self) -> int:
        """Forget the first stage in which a remote left questions unanswered and all that came after, so that they are
        searched again; the answers there were are kept elsewhere and cost nothing. How many batches."""
        cut = next((f for f in self.findings() if unheard(f)), None)
        if cut is None:
            return 0
        at = (cut.eps, cut.stage)
        with self._guard():
            gone = 0
            for table in ("findings", "batches"):
                first = f"SELECT MIN(rowid) FROM {table} WHERE eps = ? AND stage = ?"
                gone = self._db.execute(f"DELETE FROM {table} WHERE rowid >= ({first})", at).rowcount
            if cut.stage == CLEAN:
                self._db.execute("DELETE FROM clean")
        return gone

    def close(self) -> None:
        """Close the file and give up the lock."""
        self._db.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _guard(self) -> _Committing:
        return _Committing(self._db, self.folder)


class _Committing:
    """A transaction whose failure names the file and what to do."""

    def __init__(self, db: sqlite3.Connection, folder: Path | None) -> None:
        self.db, self.folder = db, folder

    def __enter__(self) -> None:
        self.db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            self.db.execute("ROLLBACK" if kind else "COMMIT")
        except sqlite3.Error as failed:
            raise RunError(
                f"cannot write {self.folder}/run.sqlite: {failed}. What was committed before is kept."
            ) from failed
        if isinstance(error, sqlite3.Error):
            raise RunError(
                f"cannot write {self.folder}/run.sqlite: {error}. What was committed before is kept."
            ) from error


def compare_request(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What differs between the request a run folder was made with and this one, as 'name: then -> now'."""
    names = sorted(set(stored) | set(wanted))
    return [f"{n}: {stored.get(n)!r} -> {wanted.get(n)!r}" for n in names if stored.get(n) != wanted.get(n)]


def by_example(findings: Iterable[Finding]) -> dict[int, list[Finding]]:
    """Findings grouped by example, in order."""
    out: dict[int, list[Finding]] = {}
    for found in findings:
        out.setdefault(found.index, []).append(found)
    return out
