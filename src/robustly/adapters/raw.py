"""What a reader found, before it is checked."""

from __future__ import annotations

from typing import Any, NamedTuple


class Raw(NamedTuple):
    """x: an array, a tensor or texts. y: labels as they stand. classes: names by label where the source has them.

    text: x is meant to be texts, whatever stands in it.
    """

    x: Any
    y: Any
    name: str
    classes: tuple[str, ...] = ()
    range: tuple[float, float] | None = None
    layout: str | None = None
    notes: tuple[str, ...] = ()
    text: bool = False
