"""Success and distance against queries, as SVG."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from robustly.report.plots import COLOURS, INK, SOFT, _path, _text, svg, ticks
from robustly.report.queries import Queries
from robustly.report.words import number, percent

WIDE, TALL, LEFT, TOP = 380, 220, 62, 18


def success_curve(found: Queries) -> Markup:
    """The share of the attacked examples that are broken, against queries on each."""
    points = [(step.queries, step.success) for step in found.steps]
    last = found.steps[-1].success if found.steps else 0.0
    title = f"{percent(last)} of {found.attacked:,} examples broken within {found.most:,} queries each"
    return _stairs(points, found.most, 1.0, [(s, f"{s:.0%}") for s in (0, 0.25, 0.5, 0.75, 1)], title, 0.0)


def distance_curve(found: Queries) -> Markup | None:
    """The median distance of those broken so far, against queries on each; None where the threat measures none."""
    points = [(step.queries, step.distance) for step in found.steps if step.distance is not None]
    largest = max((distance for _, distance in points), default=0.0)
    if not largest > 0:
        return None
    title = f"the median distance of the broken ends at {number(points[-1][1])}"
    return _stairs(points, found.most, largest * 1.06, [(t, number(t)) for t in ticks(largest)], title, None)


def _stairs(
    points: Sequence[tuple[int, float]],
    most: int,
    top: float,
    marks: Sequence[tuple[float, str]],
    title: str,
    start: float | None,
) -> Markup:
    """A line that steps at each point and runs on to `most`. start: its height before the first, None for no line there."""

    def x(queries: float) -> float:
        return LEFT + WIDE * queries / max(most, 1)

    def y(value: float) -> float:
        return TOP + TALL * (1 - value / top)

    body = [_path(f"M{LEFT} {TOP}V{y(0):.1f}H{LEFT + WIDE}", SOFT, 1)]
    for value, name in marks:
        body += [
            _path(f"M{LEFT - 5} {y(value):.1f}H{LEFT}", SOFT, 1),
            _text(LEFT - 10, y(value) + 4, name, size=12, fill=SOFT, anchor="end"),
        ]
    for queries in ticks(max(most, 1), whole=True):
        body += [
            _path(f"M{x(queries):.1f} {y(0):.1f}v5", SOFT, 1),
            _text(x(queries), y(0) + 20, f"{queries:,.0f}", size=12, fill=SOFT),
        ]
    if points:
        line = f"M{LEFT} {y(start):.1f}" if start is not None else f"M{x(points[0][0]):.1f} {y(points[0][1]):.1f}"
        line += "".join(f"H{x(queries):.1f}V{y(value):.1f}" for queries, value in points) + f"H{LEFT + WIDE}"
        body.append(_path(line, COLOURS["broken"] if start is not None else INK, 2))
    body.append(_text(LEFT + WIDE / 2, y(0) + 42, "queries on an example", size=13, fill=SOFT))
    return svg(LEFT + WIDE + 20, int(y(0)) + 54, title, Markup("").join(body), "curve")
