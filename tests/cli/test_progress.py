"""The live display: the bar, the share of a stage, the time left, and lines that are not too many."""

import io

import pytest
from rich.console import Console

from robustly.auditing.estimate import StageCost
from robustly.auditing.progress import Snapshot
from robustly.cli.pace import Pace
from robustly.cli.progress import Lines, Picture, bar, clock
from robustly.cli.signals import Interrupted, Signals, current
from robustly.cli.terminal import Terminal
from robustly.core.specs import Spec

COSTS = (
    StageCost(Spec("certifier", "interval", ()), "certify", 3, 0),
    StageCost(Spec("attack", "apgd", ()), "attack", 10, 10, needs=3),
    StageCost(Spec("attack", "noise", ()), "attack", 30, 0, needs=2),
)


def shot(**changes):
    state = {
        "examples": 100, "certified": 0.2, "attacked": 0.7, "undecided": 50, "clean": 0.9, "stage": "apgd",
        "stage_number": 2, "stages": 3, "eps": 0.1, "done": 0, "asked": 50, "forward": 400, "backward": 0, "seconds": 1.0,
    }  # fmt: skip
    return Snapshot(**{**state, **changes})


def test_the_bar_has_its_three_parts_and_shows_even_one_undecided_example():
    assert bar(shot(), 10).plain == "██▒▒▒▒▒░░░"
    assert bar(shot(), 10, ascii_only=True).plain == "##?????..."
    assert bar(shot(certified=0.5, attacked=0.501, undecided=1), 10).plain == "█████▒░░░░"
    assert bar(shot(certified=0.999, attacked=1.0, undecided=1), 10).plain == "█████████▒"
    assert bar(shot(certified=1.0, attacked=1.0, undecided=0), 10).plain == "██████████"


def test_pace_counts_within_a_batch_and_bounds_what_is_left():
    pace = Pace(COSTS, 0, None)
    pace.see(shot())
    later = shot(forward=650, backward=250, seconds=2.0)
    pace.see(later)
    assert pace.rate(later) == 500
    assert pace.share(later) == 0.5  # 500 of 50 * 20 passes
    assert pace.left(later) == pytest.approx((500 + 50 * 30) / 500)
    assert Pace(COSTS, 0, 3.0).left(later) == 1.0


def test_stages_that_were_left_out_are_found_by_number_and_name():
    pace = Pace(COSTS, 0, None)
    only = shot(stage="noise", stage_number=1, stages=1)
    pace.see(only)
    later = shot(stage="noise", stage_number=1, stages=1, forward=400 + 750, seconds=2.0)
    pace.see(later)
    assert pace.share(later) == 0.5
    unknown = shot(stage="other", stage_number=1, stages=1, forward=2000, seconds=3.0)
    pace.see(unknown)
    assert pace.left(unknown) is None


def test_further_sizes_of_a_sweep_count_until_they_are_begun():
    pace = Pace(COSTS, 1, None)
    pace.see(shot())
    later = shot(forward=500, seconds=2.0)
    pace.see(later)
    assert pace.left(later) == pytest.approx((900 + 50 * (30 + 53)) / 100)


def terminal(stream):
    console = Console(file=stream, width=100, markup=False)
    return Terminal(console, console, ())


def test_lines_come_now_and_then_and_hold_the_sentence():
    stream = io.StringIO()
    lines = Lines(terminal(stream), Pace((), 0, None))
    for i in range(50):
        lines.see(shot(seconds=1 + i / 50, forward=400 + i, stage="\x1b[31mapgd"))
    said = stream.getvalue()
    assert said.count("\n") == 1
    assert "robust accuracy between 20.0 % certified and 70.0 % attacked, 50 undecided" in said
    assert "\x1b" not in said


@pytest.mark.parametrize("width", [30, 100])
def test_the_picture_fits_its_terminal(width):
    stream = io.StringIO()
    console = Console(file=stream, width=width, markup=False)
    picture = Picture(Pace(COSTS, 0, None))
    console.print(picture)
    assert "loading" in stream.getvalue()
    picture.see(shot())
    picture.see(shot(forward=500, seconds=2.0))
    console.print(picture)
    assert "50 undecided" in stream.getvalue()
    assert max(map(len, stream.getvalue().splitlines())) <= width


def test_a_signal_that_other_code_swallowed_is_raised_by_the_next_snapshot(monkeypatch):
    monkeypatch.setattr(current, "received", 2)
    with pytest.raises(Interrupted):
        Picture(Pace((), 0, None)).see(shot())
    Signals().check()


@pytest.mark.parametrize(("seconds", "shown"), [(7, "0:07"), (59.6, "1:00"), (750, "12:30"), (3723, "1:02:03")])
def test_the_clock(seconds, shown):
    assert clock(seconds) == shown
