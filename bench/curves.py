"""A picture of distance against passes: one panel a model, both axes logarithmic, a line an attack."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

from bench.distances import Reached, frontier

WIDE, TALL, LEFT, TOP, GAP = 420, 300, 60, 60, 90
OURS, THEIRS = "#1268b3", "#c2540a"
Curves = Mapping[str, tuple[Sequence[Reached], Sequence[Reached]]]


def picture(norm: str, curves: Curves) -> str:
    """An SVG document. Thin lines are single attacks over their budgets, thick ones the best of a side at each budget;
    blue is ours, orange the peers'. A median that is infinite has no place on it."""
    parts = [_panel(i, name, mine, peers) for i, (name, (mine, peers)) in enumerate(curves.items())]
    width, height = LEFT + len(parts) * (WIDE + GAP), TOP + TALL + 60
    title = f"Median {norm} distance against passes an example"
    key = _text(LEFT, 40, "ours", OURS, weight=700) + _text(LEFT + 50, 40, "peers", THEIRS, weight=700)
    key += _text(LEFT + 110, 40, "thick: the best of a side at each budget", "#777")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{title}" style="font-family:system-ui,sans-serif;background:#fff">'
        f"<title>{title}</title>{_text(LEFT, 20, title, '#222', size=15, weight=600)}{key}{''.join(parts)}</svg>\n"
    )


def _panel(place: int, name: str, mine: Sequence[Reached], peers: Sequence[Reached]) -> str:
    drawn = [one for one in (*mine, *peers) if 0 < one.median < math.inf]
    left = LEFT + place * (WIDE + GAP)
    frame = f'<rect x="{left}" y="{TOP}" width="{WIDE}" height="{TALL}" fill="none" stroke="#999"/>'
    frame += _text(left + WIDE / 2, TOP - 4, name, "#222", anchor="middle", weight=600)
    if not drawn:
        return frame + _text(left + WIDE / 2, TOP + TALL / 2, "no finite median", "#777", anchor="middle")
    low, high = _ends([one.passes for one in drawn], 1.1)
    near, far = _ends([one.median for one in drawn], 1.05)
    far = min(far, 12 * near)  # what is far out says nothing of who leads

    def x(passes: float) -> float:
        return left + WIDE * math.log(passes / low) / math.log(high / low)

    def y(median: float) -> float:
        return TOP + TALL * (1 - math.log(min(median, far) / near) / math.log(far / near))

    body = [frame]
    for value in _rounds(low, high):
        body.append(_line([(x(value), TOP + TALL), (x(value), TOP + TALL + 5)], "#777", 1))
        body.append(_text(x(value), TOP + TALL + 18, f"{value:g}", "#555", anchor="middle", size=11))
    for value in _rounds(near, far):
        body.append(_line([(left - 5, y(value)), (left, y(value))], "#777", 1))
        body.append(_text(left - 8, y(value) + 4, f"{value:g}", "#555", anchor="end", size=11))
    body.append(_text(left + WIDE / 2, TOP + TALL + 38, "passes an example", "#555", anchor="middle"))
    for side, colour in ((peers, THEIRS), (mine, OURS)):
        there = [one for one in side if 0 < one.median < math.inf]
        for family in sorted({(one.who, one.attack) for one in there}):
            line = sorted((o for o in there if (o.who, o.attack) == family), key=lambda o: o.passes)
            body.append(_line([(x(o.passes), y(o.median)) for o in line], colour, 0.8, 0.45))
            for o in line:
                said = f"{o.who} {o.name}: median {o.median:.4g}, {o.passes:.0f} passes"
                body.append(
                    f'<circle cx="{x(o.passes):.1f}" cy="{y(o.median):.1f}" r="2.5" fill="{colour}" opacity="0.6">'
                    f"<title>{escape(said)}</title></circle>"
                )
        edge = frontier(there)
        steps = [p for a, b in pairwise(edge) for p in ((a.passes, a.median), (b.passes, a.median))]
        steps += [(edge[-1].passes, edge[-1].median), (high, edge[-1].median)] if edge else []
        body.append(_line([(x(p), y(m)) for p, m in steps], colour, 2.5))
    return "".join(body)


def _ends(values: Sequence[float], room: float) -> tuple[float, float]:
    return min(values) / room, max(values) * room


def _rounds(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between the two; only powers of ten where there would be too many."""
    tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    several = [m * 10.0**t for t in tens for m in (1, 2, 5)]
    inside = [v for v in several if low <= v <= high]
    return inside if len(inside) <= 9 else [v for v in inside if f"{v:e}".startswith("1")]


def _line(points: Sequence[tuple[float, float]], colour: str, width: float, opacity: float = 1.0) -> str:
    told = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    return f'<polyline points="{told}" fill="none" stroke="{colour}" stroke-width="{width}" opacity="{opacity}"/>'


def _text(x: float, y: float, text: str, fill: str, size: int = 12, weight: int = 400, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
