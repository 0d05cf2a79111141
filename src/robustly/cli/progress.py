"""What is shown while an audit runs: a live picture on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from robustly.auditing.estimate import outline
from robustly.auditing.plan import Plan
from robustly.auditing.progress import Snapshot, Watcher
from robustly.cli.pace import Pace
from robustly.cli.signals import current
from robustly.cli.terminal import Terminal
from robustly.report.escape import visible
from robustly.report.terminal import STYLES

EVERY = 5.0
"""Seconds between plain lines, at least, but for the ends of stages."""
STAGES_EVERY = 1.0
"""The same for the ends of stages: small audits have many within a second."""


@contextmanager
def watching(
    here: Terminal, plan: Plan, threat: str, sizes: int, seconds: float | None, quiet: bool
) -> Iterator[Watcher]:
    """A watcher for `audit`. sizes: further ones of a sweep. seconds: the time limit, if there is one."""
    if quiet:
        yield lambda snapshot: current.check()
    elif here.live:
        picture = Picture(Pace(outline(plan, threat), sizes, seconds))
        with Live(picture, console=here.out, refresh_per_second=8, transient=True):
            try:
                yield picture.see
            except BaseException:
                if picture.last is not None:  # the picture goes; what it said stays
                    here.say(f"so far: {picture.last.sentence}")
                raise
    else:
        yield Lines(here, Pace((), sizes, seconds)).see


class Spending:
    """Passes the snapshots on, and sees whether any pass was spent between them."""

    def __init__(self, watch: Watcher) -> None:
        self.watch = watch
        self.spent = False
        self._first: int | None = None

    def see(self, snapshot: Snapshot) -> None:
        """Take a snapshot in, and pass it on."""
        passes = snapshot.forward + snapshot.backward
        self._first = passes if self._first is None else self._first
        self.spent = self.spent or passes != self._first
        self.watch(snapshot)


class Lines:
    """Plain lines for logs, at most one every few seconds and at the ends of stages."""

    def __init__(self, here: Terminal, pace: Pace) -> None:
        self.here, self.pace = here, pace
        self.said = float("-inf")
        self.begun = False

    def see(self, snapshot: Snapshot) -> None:
        """Say a line if it is time to."""
        current.check()
        self.pace.see(snapshot)
        ended = snapshot.asked > 0 and snapshot.done == snapshot.asked
        waited = monotonic() - self.said
        first = not self.begun and _so_far(snapshot) == snapshot.sentence  # with a bracket: never waited for
        if not first and waited < (STAGES_EVERY if ended else EVERY):
            return
        self.said, self.begun = monotonic(), self.begun or first
        self.here.say(
            f"[{snapshot.seconds:.0f} s] {_so_far(snapshot)}; {_stage(snapshot)} {snapshot.done}/{snapshot.asked}; "
            f"{_passes(snapshot, self.pace)}"
        )
        self.here.flush()


class Picture:
    """The live display: the bracket in words and as a bar, the stage with its progress, passes, rate and time left."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.last: Snapshot | None = None
        self.seen = 0.0

    def see(self, snapshot: Snapshot) -> None:
        """Remember the state; it is drawn when the display refreshes."""
        current.check()
        self.pace.see(snapshot)
        self.last, self.seen = snapshot, monotonic()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        snapshot = self.last
        if snapshot is None:
            yield Text("loading the model and the data, probing the model ...", style="dim")
            return
        width = min(options.max_width, 88)
        yield Text(_so_far(snapshot), style="bold")
        yield bar(snapshot, width, options.ascii_only)
        done = self.pace.share(snapshot)
        stage = Table.grid(padding=(0, 1))
        stage.add_row(
            Text(_stage(snapshot), style="cyan"),
            ProgressBar(total=1.0, completed=done, width=max(10, width - 50)),
            Text(f"{100 * done:3.0f} %"),
            Text(f"{snapshot.asked:,} asked", style="dim"),
        )
        yield stage
        yield Text(" · ".join([_passes(snapshot, self.pace), *self._times(snapshot)]), style="dim")

    def _times(self, snapshot: Snapshot) -> list[str]:
        """Since the start and to the end; the clock goes on while one long step says nothing."""
        since, left = monotonic() - self.seen, self.pace.left(snapshot)
        return [clock(snapshot.seconds + since), *([] if left is None else [f"at most {clock(left)} left"])]


def bar(snapshot: Snapshot, width: int, ascii_only: bool = False) -> Text:
    """The bracket as a bar: proven, undecided (seen even if they are few), lost."""
    proven = round(width * snapshot.certified)
    standing = min(width, max(proven + (snapshot.undecided > 0), round(width * snapshot.attacked)))
    proven = min(proven, standing - (snapshot.undecided > 0))
    signs = "#?." if ascii_only else "█▒░"
    return Text.assemble(
        (signs[0] * proven, STYLES["certified"]),
        (signs[1] * (standing - proven), STYLES["unknown"]),
        (signs[2] * (width - standing), STYLES["broken"]),
    )


def _so_far(snapshot: Snapshot) -> str:
    """The bracket, once the model was asked anything; before that it says nothing of the model."""
    unasked = snapshot.stage_number == 0 and snapshot.undecided == snapshot.examples and snapshot.certified == 0
    return "starting" if unasked else snapshot.sentence


def _stage(snapshot: Snapshot) -> str:
    """Where the run is. Stage 0 is the clean pass, the one after the last is the cross-check."""
    name = visible(snapshot.stage, most=40)
    if not 1 <= snapshot.stage_number <= snapshot.stages:
        return name
    return f"stage {snapshot.stage_number} of {snapshot.stages}, {name} at eps {snapshot.eps:.4g}"


def _passes(snapshot: Snapshot, pace: Pace) -> str:
    if snapshot.campaign is not None:
        return snapshot.campaign.sentence
    rate = pace.rate(snapshot)
    return f"{snapshot.forward:,} forward + {snapshot.backward:,} backward passes" + (
        f", {rate:,.0f} a second" if rate else ""
    )


def clock(seconds: float) -> str:
    """0:07, 12:30, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
