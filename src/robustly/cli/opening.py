"""Opening a run folder: its record, or what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robustly.core.errors import UsageError

if TYPE_CHECKING:
    from robustly.core.records import Record

OURS = ("run.sqlite", "record.json")
"""One of them lies in every folder that an audit has written to."""


def open_record(run: str) -> Record:
    """The record of a run folder, or of the path of its record.json.

    Raises:
        UsageError: the run was interrupted, or there is no readable record.
    """
    from robustly.core.records import read_record

    folder = folder_of(run)
    if (folder / "run.sqlite").exists() and not (folder / "record.json").exists():
        raise UsageError(
            f"the run in {folder} was interrupted and has no record yet. Start the same audit again: it goes on "
            "where it stopped, and writes the record at its end."
        )
    return read_record(run)


def folder_of(run: str) -> Path:
    """The folder of a run that was named by it or by its record.json."""
    path = Path(run)
    return path.parent if path.suffix == ".json" else path


def refuse_others(folder: Path) -> None:
    """Refuse a folder with files in it that no audit wrote.

    Raises:
        UsageError: a run would mix with them.
    """
    if not folder.is_dir() or any((folder / name).exists() for name in OURS):
        return
    found = sorted(path.name for path in folder.iterdir() if path.name != "run.lock")
    if found:
        raise UsageError(
            f"{folder} is no run folder, and it is not empty: it holds {', '.join(found[:3])}"
            f"{' and more' if len(found) > 3 else ''}. Give --out a new or an empty folder, say {folder / 'run'}."
        )
