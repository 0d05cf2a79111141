"""Distances against passes: what an attack for the least distance found, and who finds it in half the passes."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reached:
    """What one attack at one setting reached on a set of examples.

    who: "ours" or a peer. attack, setting: its name and arguments in words. distances: of the examples, as the referee
    judged them; infinite where nothing adversarial was found. forward, backward: passes of all examples together.
    """

    who: str
    attack: str
    setting: str
    distances: tuple[float, ...]
    forward: int
    backward: int

    @property
    def median(self) -> float:
        """The median distance, an example that was not broken counting as infinitely far."""
        return statistics.median(self.distances)

    @property
    def found(self) -> float:
        """The share of examples broken at any distance."""
        return sum(map(math.isfinite, self.distances)) / len(self.distances)

    @property
    def passes(self) -> float:
        """Forward and backward passes an example."""
        return (self.forward + self.backward) / len(self.distances)

    @property
    def name(self) -> str:
        """The attack with its setting."""
        return f"{self.attack}({self.setting})"


def best(found: Iterable[Reached], within: float = math.inf) -> Reached | None:
    """The one of least median distance among those of at most so many passes an example, the cheapest of equals; None
    where there is none."""
    affordable = [one for one in found if one.passes <= within]
    return min(affordable, key=lambda one: (one.median, one.passes), default=None)


def frontier(found: Iterable[Reached]) -> tuple[Reached, ...]:
    """Those that none reaches as near with as few passes: passes rise, the median falls. Without a median, none."""
    out: list[Reached] = []
    for one in sorted(found, key=lambda one: (one.passes, one.median)):
        if one.median < (out[-1].median if out else math.inf):
            out.append(one)
    return tuple(out)


def ratio_at_half(ours: Iterable[Reached], peer: Reached) -> float:
    """Our least median at no more than half a peer's passes, over the peer's median; infinite where we have none.

    Both zero is 1; the peer alone at zero is infinite.
    """
    mine = best(ours, peer.passes / 2)
    if mine is None or math.isinf(mine.median):
        return 1.0 if mine is not None and math.isinf(peer.median) else math.inf
    if peer.median == 0:
        return 1.0 if mine.median == 0 else math.inf
    return mine.median / peer.median


def write(path: Path, found: Iterable[Reached]) -> None:
    """Keep results as a JSON record; an infinite distance as null, finite ones to seven digits."""
    rows = [
        {**asdict(one), "distances": [None if math.isinf(d) else float(f"{d:.7g}") for d in one.distances]}
        for one in found
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def read(path: Path) -> tuple[Reached, ...]:
    """The results kept there; none where there is no record."""
    if not path.exists():
        return ()
    return tuple(
        Reached(**{**row, "distances": tuple(math.inf if d is None else d for d in row["distances"])})
        for row in json.loads(path.read_text())
    )
