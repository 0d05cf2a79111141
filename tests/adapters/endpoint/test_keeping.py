"""What was answered is kept: it is never paid again, whatever ended the process."""

import sqlite3
import time

import pytest
import torch
from tests.adapters.endpoint.conftest import owners, some
from tests.adapters.endpoint.server import Target

from robustly.core.errors import RunError, UsageError


def test_answers_survive_and_nothing_is_paid_twice(asking, tmp_path):
    keep = tmp_path / "answers.sqlite"
    with Target() as target:
        first = asking(target.url, keep)
        first.settle(some(4), owners(4))
        said = first.ask(some(9), owners(9))
        first.close()
        sent = target.inputs
        again = asking(target.url, keep)
        again.settle(some(4), owners(4))
        replies = again.ask(some(9), owners(9))
        assert torch.equal(replies.answers, said.answers)
        assert torch.equal(replies.spent, said.spent)
        assert target.inputs == sent == again.bill.sent
        again.close()
        other = asking(target.url, keep, headers={"x-model": "b"})
        with pytest.raises(UsageError, match=r"keeps the answers of .* under other settings"):
            other.ask(some(1), owners(1))


def test_one_process_at_a_time(asking, tmp_path):
    with Target() as target:
        asking(target.url, tmp_path / "a.sqlite").ask(some(1), owners(1))
        with pytest.raises(UsageError, match="another process is running in"):
            asking(target.url, tmp_path / "a.sqlite").ask(some(1), owners(1))


def test_an_interruption_keeps_what_was_answered(asking, tmp_path):
    class Stop(BaseException):
        pass

    with Target(delay=0.05) as target:
        one = asking(target.url, tmp_path / "a.sqlite", limits={"concurrency": 2})
        one.settle(some(4), owners(4))

        def stop() -> None:
            if target.requests > 20:
                raise Stop

        one.watch = stop
        with pytest.raises(Stop):
            one.ask(some(200, 1), owners(200))
        one.close()
        with sqlite3.connect(tmp_path / "a.sqlite") as db:
            kept = db.execute("SELECT COUNT(*) FROM answers").fetchone()[0]
        assert kept >= 10
        assert target.requests < 100
        time.sleep(0.1)
        again = asking(target.url, tmp_path / "a.sqlite")
        again.settle(some(4), owners(4))
        assert again.ask(some(200, 1), owners(200)).answered.all()
        assert sum(target.answered.values()) - len(target.answered) <= 4 * 3 + 4  # canaries, and what was under way


def test_a_damaged_file_is_named_before_anything_is_sent_and_left_as_it_is(asking, tmp_path):
    keep = tmp_path / "answers.sqlite"
    with Target() as target:
        one = asking(target.url, keep)
        one.ask(some(300), owners(300))
        one.close()
        content = bytearray(keep.read_bytes())
        content[5000:9000] = b"x" * 4000
        keep.write_bytes(content)
        for _ in range(2):  # and its lock is free again
            with pytest.raises(RunError, match=r"answers\.sqlite is damaged .* Nothing was changed: .* keep a copy"):
                asking(target.url, keep).ask(some(1, 1), owners(1))
        assert keep.read_bytes() == content
        assert target.inputs == 300


def test_a_place_that_cannot_be_written_is_told_before_anything_is_sent(asking, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with Target() as target:
        with pytest.raises(UsageError, match=r"cannot write in .*file/answers\.sqlite"):
            asking(target.url, tmp_path / "file" / "answers.sqlite").ask(some(1), owners(1))
        assert target.requests == 0
