"""The counterexamples worth a look: the nearest, typical ones, and those the model is surest of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from robustly.core.errors import RobustlyError
from robustly.core.points import Pair
from robustly.core.records import Record, Row
from robustly.report import pictures, plots
from robustly.report.texts import difference
from robustly.report.words import class_name, number, percent

EACH = 4
"""Panels of one kind."""
BUDGET = 1_500_000
"""Characters that all pictures together may take in the file."""


class View(NamedTuple):
    """A counterexample to look at: three pictures, or one text. scale: what the middle picture shows."""

    parts: tuple[Markup, ...]
    scale: str


class Panel(NamedTuple):
    """One counterexample with what is known of it."""

    row: Row
    true: str
    said: str
    view: View


class Group(NamedTuple):
    """Panels under one heading."""

    title: str
    why: str
    panels: tuple[Panel, ...]


class Gallery(NamedTuple):
    """What is shown of all counterexamples; left_out: how many are not."""

    groups: tuple[Group, ...]
    shown: int
    left_out: int


def gallery(record: Record) -> Gallery:
    """The panels of a report, within `BUDGET`; no counterexample is shown twice."""
    rows = [row for row in record.rows if row.counterexample]
    taken: set[int] = set()
    room = BUDGET
    groups = []
    kinds = [(title, why, chosen) for title, why, choose in CHOICES if (chosen := choose(rows, taken))]
    share = BUDGET // max(len(kinds), 1)
    for title, why, chosen in kinds:
        panels, spent = [], 0
        for row in chosen:
            panel = _panel(record, row)
            size = sum(map(len, panel.view.parts))
            if panels and (spent + size > share or size > room):
                break
            panels.append(panel)
            spent += size
            room -= size
        groups.append(Group(title, why, tuple(panels)))
    shown = sum(len(group.panels) for group in groups)
    return Gallery(tuple(groups), shown, len(rows) - shown)


def nearest(rows: list[Row], taken: set[int]) -> list[Row]:
    """Those at the smallest distance; none if all lie at the same, as after an attack that uses all it may."""
    far = [row.distance for row in rows if row.distance is not None]
    if not far or min(far) >= 0.995 * max(far):
        return []
    return _first(rows, taken, lambda row: (_or(row.distance, np.inf), row.index))


def typical(rows: list[Row], taken: set[int]) -> list[Row]:
    """Of the half around the median distance, one of each class before a second of any."""
    ordered = sorted(rows, key=lambda row: (_or(row.distance, np.inf), row.index))
    front = ordered[len(ordered) // 4 : len(ordered) // 4 + max(EACH, len(ordered) // 2)]
    seen: Counter[int] = Counter()
    rank = {}
    for row in sorted(front, key=lambda row: row.index):
        rank[row.index] = seen[row.label]
        seen[row.label] += 1
    return _first(front, taken, lambda row: (rank[row.index], row.index))


def surest(rows: list[Row], taken: set[int]) -> list[Row]:
    """Those whose wrong answer has the highest confidence."""
    known = [row for row in rows if row.adversarial_confidence is not None]
    return _first(known, taken, lambda row: (-_or(row.adversarial_confidence, 0.0), row.index))


CHOICES: tuple[tuple[str, str, Callable[[list[Row], set[int]], list[Row]]], ...] = (
    ("The smallest changes that succeed", "counterexamples nearest to their original", nearest),
    ("Typical counterexamples", "from the half around the median distance", typical),
    ("Wrong with the most confidence", "where the model is surest of the wrong answer", surest),
)


def view(pair: Pair, record: Record) -> View:
    """Original, change and counterexample as pictures, as bars, or as one text with the edits marked."""
    adversarial, clean = pair
    if isinstance(adversarial, str) or isinstance(clean, str):
        return View((difference(str(clean), str(adversarial)),), "")
    span = pictures.range_of(record.model.domain, clean, adversarial)
    delta = adversarial.astype(np.float64) - clean.astype(np.float64)
    factor = pictures.magnification(delta, span)
    names = ("original", f"change, magnified {factor:g} times", "counterexample")
    if not pictures.is_picture(clean):
        half = 0.5 * (span.high - span.low) / factor
        return View(
            (
                plots.bars(clean, *span, title=names[0], zero=min(max(0.0, span.low), span.high)),
                plots.bars(delta, -half, half, title=names[1]),
                plots.bars(adversarial, *span, title=names[2], zero=min(max(0.0, span.low), span.high)),
            ),
            f"change ×{factor:g}",
        )
    colour = record.data.kind == "image"
    before = pictures.pixels(clean, span, colour)
    shown = (before, pictures.change_pixels(delta, span, factor, colour), pictures.pixels(adversarial, span, colour))
    scale = f"change ×{factor:g}"
    if max(before.shape) > pictures.LONGEST:
        scale += f", shown at {pictures.LONGEST / max(before.shape):.0%} size"
    images = (
        pictures.image(pictures.shrunk(part, smooth=name != names[1]), name)
        for part, name in zip(shown, names, strict=True)
    )
    return View(tuple(images), scale)


def _panel(record: Record, row: Row) -> Panel:
    try:
        seen = view(record.pair(row.index), record)
    except RobustlyError as error:  # a report opens even where a counterexample is lost
        seen = View(
            (
                Markup("<p class=gone>{}</p>").format(
                    f"cannot be shown: {type(error).__name__}, the file is missing or damaged"
                ),
            ),
            "",
        )
    return Panel(
        row,
        _answer(
            class_name(record, row.clean_label if row.clean_label is not None else row.label), row.clean_confidence
        ),
        _answer(class_name(record, row.adversarial_label), row.adversarial_confidence),
        seen,
    )


def facts(panel: Panel) -> str:
    """The line below a panel."""
    row = panel.row
    parts = [f"example {row.index}"]
    if row.distance is not None:
        parts.append(f"distance {number(row.distance)}")
    if row.by:
        parts.append(f"found by {row.by}")
    parts.append(f"{row.forward:,} F + {row.backward:,} B passes")
    return " · ".join(parts)


def _answer(name: str, confidence: float | None) -> str:
    return name if confidence is None else f"{name} {percent(confidence)}"


def _first(rows: list[Row], taken: set[int], order: Callable[[Row], object]) -> list[Row]:
    chosen = sorted((row for row in rows if row.index not in taken), key=order)[:EACH]  # type: ignore[arg-type]
    taken.update(row.index for row in chosen)
    return chosen


def _or(value: float | None, other: float) -> float:
    return other if value is None else value
