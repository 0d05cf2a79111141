"""What a benchmark gives back: a table, and bars that hold or fall short."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Bar:
    """One promise: what, what is wanted (at most, or at least), what was measured."""

    what: str
    wanted: float
    measured: float
    at_most: bool = True

    @property
    def holds(self) -> bool:
        """Whether the promise is kept."""
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted


@dataclass(frozen=True)
class Outcome:
    """A benchmark's name, its setting in words, its table (column names, rows) and its bars."""

    name: str
    setting: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    bars: tuple[Bar, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The outcome as plain data, with each bar's verdict."""
        return {**asdict(self), "bars": [{**asdict(bar), "holds": bar.holds} for bar in self.bars]}


def printed(outcome: Outcome) -> str:
    """Table, notes and bars as text, ending with 'N hold, M fall short'."""
    cells = [outcome.columns, *[tuple(_cell(v) for v in row) for row in outcome.rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(outcome.columns))]
    lines = [f"{outcome.name}: {outcome.setting}", ""]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    lines += ["", *outcome.notes] if outcome.notes else []
    lines += ["", "bars:"]
    for bar in outcome.bars:
        sign = "<=" if bar.at_most else ">="
        lines.append(
            f"  {'holds      ' if bar.holds else 'FALLS SHORT'}  {bar.what}: {bar.measured:.3f} ({sign} {bar.wanted:.3f})"
        )
    held = sum(bar.holds for bar in outcome.bars)
    return "\n".join([*lines, "", f"{held} hold, {len(outcome.bars) - held} fall short"])


def machine() -> str:
    """The machine in words, without its name."""
    return f"{platform.machine()} {platform.system()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "-" if value is None else str(value)
