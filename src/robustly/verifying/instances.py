"""Many properties from one list, each with a time of its own; what is done is kept, so that a list goes on where it stopped."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeAlias

from robustly.core.errors import Contradiction, RobustlyError, UsageError
from robustly.core.points import write_atomically
from robustly.verifying.answers import Answer
from robustly.verifying.verify import verify

_NUMBER_LIKE = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would take for a formula at the start of a cell."""


@dataclass(frozen=True)
class Instance:
    """A line of the list, words as they stand there. timeout: seconds. folder: what the words are relative to."""

    onnx: str
    vnnlib: str
    timeout: float
    folder: Path

    @property
    def files(self) -> tuple[Path, Path]:
        """Both files, packed with gzip where only that is there."""
        network, wanted = (_packed(self.folder / word) for word in (self.onnx, self.vnnlib))
        return network, wanted


@dataclass(frozen=True)
class Outcome:
    """A line of the results. verdict: sat, unsat, unknown, or error. counterexample: the file that it is in."""

    onnx: str
    vnnlib: str
    timeout: float
    verdict: str
    seconds: float
    why: str = ""
    counterexample: str = ""


def read_instances(path: Path, timeout: float | None = None) -> tuple[Instance, ...]:
    """The lines network,property,seconds of a file, with or without a header; further columns are left alone.

    timeout: for all, instead of what the lines say.

    Raises:
        UsageError: no such file, a line with too few columns, or seconds that are none.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the list {path}: {getattr(error, 'strerror', None) or 'it is not text'}."
        ) from None
    found = []
    for number, cells in enumerate(csv.reader(io.StringIO(text)), 1):
        cells = [cell.strip() for cell in cells]
        if not any(cells) or (number == 1 and cells[0] == "onnx"):
            continue
        if len(cells) < 2 or (len(cells) < 3 and timeout is None):
            raise UsageError(
                f"{path}, line {number}: network,property,seconds are wanted, got {','.join(cells)[:80]!r}."
            )
        found.append(Instance(cells[0], cells[1], timeout or _seconds(cells[2], path, number), path.parent))
    if not found:
        raise UsageError(f"{path} lists nothing. A line is network.onnx,property.vnnlib,seconds.")
    return tuple(found)


Ask: TypeAlias = Callable[[Path, Path, float], Answer]
"""A verdict on a network, a property, within so many seconds."""


def verify_all(
    instances: tuple[Instance, ...],
    out: Path,
    told: Callable[[int, Outcome, bool], None] = lambda number, outcome, kept: None,
    ask: Ask = verify,
) -> tuple[Outcome, ...]:
    """The verdicts on all of them, written to `out` (a .csv) after each; counterexamples go into a folder beside it.

    Lines that `out` has already, with the same files and the same seconds, are kept and not done again, but for those that
    raised. told: called with the number of each, its outcome and whether that was kept. ask: gives the verdicts.

    Raises:
        RunError: `out` cannot be written.
        Contradiction: a counterexample to what was proven; what was done before is kept.
    """
    before = {(o.onnx, o.vnnlib, o.timeout): o for o in read_outcomes(out) if o.verdict != "error"}
    done: list[Outcome] = []
    for number, one in enumerate(instances):
        kept = before.get((_inert(one.onnx), _inert(one.vnnlib), one.timeout))
        if kept is None:
            answer = _answer(one, ask)
            place = f"{out.stem}-counterexamples/{_named(one)}.txt" if answer.counterexample is not None else ""
            if place:
                write_atomically(out.parent / place, answer.text().encode())
            words = (_inert(one.onnx), _inert(one.vnnlib), one.timeout, answer.verdict, round(answer.seconds, 3))
            outcome = Outcome(*words, _inert(answer.why), place)
        else:
            outcome = kept
        done.append(outcome)
        if kept is None:
            later = [o for key, o in before.items() if key not in {(d.onnx, d.vnnlib, d.timeout) for d in done}]
            write_atomically(out, _table([*done, *later]).encode())
        told(number, outcome, kept is not None)
    return tuple(done)


def read_outcomes(path: Path) -> tuple[Outcome, ...]:
    """What a file of results holds; nothing where there is none.

    Raises:
        UsageError: a file of another kind.
    """
    if not path.exists():
        return ()
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != [f.name for f in fields(Outcome)]:
            raise UsageError(f"{path} is there and holds no results of this command. Choose another --out.")
        return tuple(
            Outcome(**{**row, "timeout": float(row["timeout"]), "seconds": float(row["seconds"])})  # type: ignore[arg-type]
            for row in reader
        )


def _answer(one: Instance, ask: Ask) -> Answer | _Raised:
    network, wanted = one.files
    try:
        return ask(network, wanted, one.timeout)
    except Contradiction:
        raise
    except (RobustlyError, OSError, RuntimeError, MemoryError) as error:
        return _Raised(why=" ".join(str(error).split()) or type(error).__name__)


@dataclass(frozen=True)
class _Raised:
    why: str
    verdict: str = "error"
    seconds: float = 0.0
    counterexample: None = None

    def text(self) -> str:
        return self.verdict


def _named(one: Instance) -> str:
    return hashlib.sha256(f"{one.onnx}\0{one.vnnlib}".encode()).hexdigest()[:16]


def _table(outcomes: list[Outcome]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, [f.name for f in fields(Outcome)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(outcome) for outcome in outcomes)
    return out.getvalue()


def _inert(word: str) -> str:
    return f" {word}" if word.startswith(_NUMBER_LIKE) else word


def _packed(path: Path) -> Path:
    packed = path.with_name(path.name + ".gz")
    return packed if not path.exists() and packed.exists() else path


def _seconds(cell: str, path: Path, number: int) -> float:
    try:
        seconds = float(cell)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise UsageError(f"{path}, line {number}: {cell!r} is no number of seconds above 0.")
    return seconds


def exit_of(outcomes: Iterator[str]) -> str:
    """The verdict that decides over a list: an error before sat before unknown before unsat."""
    found = set(outcomes)
    return next((v for v in ("error", "sat", "unknown") if v in found), "unsat")
