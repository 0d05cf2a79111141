"""What comes at one moment is committed at once and before it is used; a disk that refuses ends it, and loses nothing."""

import asyncio
import resource
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.adapters.endpoint.conftest import owners, some
from tests.adapters.endpoint.server import Reply, Target

from robustly.adapters.endpoint.kept import Kept, Send
from robustly.adapters.endpoint.writing import LINGER, Writer
from robustly.core.errors import RunError


def rows(path: Path, table: str) -> int:
    """How many another reader of the file sees: those that are committed."""
    with sqlite3.connect(path) as db:
        return db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]


def commits_of(kept: Kept) -> list[str]:
    said: list[str] = []
    kept._db.set_trace_callback(lambda line: said.append(line) if line == "COMMIT" else None)
    return said


def test_what_comes_while_the_disk_is_busy_is_committed_once_and_then_told(tmp_path):
    kept, busy = Kept(tmp_path / "a.sqlite"), threading.Event()
    commits = commits_of(kept)

    async def main(disk: ThreadPoolExecutor) -> None:
        disk.submit(busy.wait)
        writer = Writer(kept, disk)
        first = writer.write(answers=[(b"first", 1, 1)])
        await asyncio.sleep(0.05)  # it is entered, and waits for the disk
        later = [writer.write([Send(b"booked", "")], [(bytes([i]), i, 1)]) for i in range(20)]
        await asyncio.sleep(0.05)
        assert not any(one.done() for one in [first, *later])
        assert rows(tmp_path / "a.sqlite", "answers") == 0
        busy.set()
        await first
        await asyncio.gather(*later)
        assert rows(tmp_path / "a.sqlite", "answers") == 21
        assert rows(tmp_path / "a.sqlite", "sends") == 20
        await writer.settled()

    with ThreadPoolExecutor(1) as disk:
        asyncio.run(main(disk))
    assert len(commits) == 2
    kept.close()


def test_a_booking_that_follows_on_an_answer_goes_with_it(tmp_path):
    kept = Kept(tmp_path / "a.sqlite")
    commits = commits_of(kept)

    async def main(disk: ThreadPoolExecutor) -> None:
        writer = Writer(kept, disk)
        came = asyncio.Event()

        async def book() -> None:
            await came.wait()
            await writer.write([Send(b"next", "")])

        booking = asyncio.create_task(book())
        await asyncio.sleep(0)
        writer.write(answers=[(b"key", 1, 1)])
        came.set()
        await booking
        await writer.settled()

    with ThreadPoolExecutor(1) as disk:
        asyncio.run(main(disk))
    assert len(commits) == 1
    kept.close()


def test_answers_that_come_within_milliseconds_share_a_commit_and_none_waits_for_long(tmp_path):
    kept = Kept(tmp_path / "a.sqlite")
    commits = commits_of(kept)

    async def main(disk: ThreadPoolExecutor) -> None:
        writer = Writer(kept, disk)
        for i in range(20):
            writer.write(answers=[(bytes([i]), i, 1)])
            await asyncio.sleep(0)  # each in a turn of the loop of its own
        assert not commits
        await asyncio.sleep(20 * LINGER)  # nobody asks for it, and it is on disk
        assert rows(tmp_path / "a.sqlite", "answers") == 20
        last = writer.write(answers=[(b"last", 0, 1)])
        await writer.settled()
        assert last.done()

    with ThreadPoolExecutor(1) as disk:
        asyncio.run(main(disk))
    assert len(commits) == 2
    kept.close()


def test_answers_that_come_together_are_on_disk_when_any_is_returned(asking, tmp_path):
    together, keep = threading.Barrier(8), tmp_path / "a.sqlite"

    def gather(number: int, x: object) -> None:
        if number > 1:
            together.wait(10)

    with Target(gather) as target:
        one = asking(target.url, keep, limits={"concurrency": 8, "timeout": 20.0})
        one.ask(some(1), owners(1))
        commits = commits_of(one._opened()[2])
        assert one.ask(some(64, 1), owners(64)).answered.all()
        assert rows(keep, "answers") == 65
        assert rows(keep, "sends") == 65 == target.inputs
        assert len(commits) < 64  # fewer than answers alone, and there are bookings too


def test_nothing_is_sent_before_its_booking_is_on_disk(asking, tmp_path):
    keep, seen = tmp_path / "a.sqlite", []

    def look(number: int, x: object) -> Reply | None:
        seen.append(rows(keep, "sends") - number)
        return Reply(500) if number % 5 == 2 else None

    with Target(look) as target:
        one = asking(target.url, keep, limits={"concurrency": 8})
        assert one.ask(some(60), owners(60)).answered.all()
        assert len(seen) == target.inputs == rows(keep, "sends") > 60
    assert min(seen) >= 0


def test_a_disk_that_refuses_a_commit_stops_everything_and_what_was_committed_stays(asking, tmp_path):
    """The size of files is limited midway, so that the write-ahead log cannot grow: SQLite is refused at a commit."""
    keep, usual = tmp_path / "a.sqlite", resource.getrlimit(resource.RLIMIT_FSIZE)
    log = tmp_path / "a.sqlite-wal"

    def fill(number: int, x: object) -> None:
        if number == 60:
            resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, usual[1]))

    with Target(fill) as target:
        one = asking(target.url, keep, limits={"concurrency": 4})
        try:
            with pytest.raises(RunError, match=r"cannot write .*a\.sqlite: .* What was answered before is kept"):
                one.ask(some(400), owners(400))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        stopped, kept = target.inputs, rows(keep, "answers")
        assert stopped < 120  # those that were on their way, or heard while the disk was asked
        assert 30 <= kept <= 60
        one.close()
        again = asking(target.url, keep)
        assert again.ask(some(400), owners(400)).answered.all()
        assert target.inputs == stopped + 400 - kept  # what was kept is not asked again
