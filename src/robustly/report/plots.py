"""Pictures drawn by hand as SVG; colours are variables of the page, with fallbacks for one that stands alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from markupsafe import Markup

from robustly.core.records import Record, Verdict
from robustly.report.curve import Curve, curve
from robustly.report.words import counts, number, percent

COLOURS: dict[Verdict, str] = {
    "certified": "var(--certified,#1268b3)",
    "unknown": "var(--unknown,#a9c8e4)",
    "broken": "var(--broken,#c2540a)",
    "misclassified": "var(--misclassified,#6d6f78)",
    "invalid": "var(--invalid,#a62b77)",
}
"""Blue holds, orange breaks: told apart with every common colour blindness, and in grey by their lightness."""
Scale = Callable[[float], float]
INK, SOFT, LINE = "var(--ink,currentColor)", "var(--soft,#777)", "var(--line,#9998)"
ON_DARK, ON_PALE = "var(--on-dark,#fff)", "var(--on-pale,#12324f)"
MOST_BARS = 96
"""A longer signal is drawn by the lowest and highest value of each stretch."""


def svg(width: int, height: int, title: str, body: Markup, name: str) -> Markup:
    """An SVG element that says what it shows."""
    return Markup(
        '<svg class="{name}" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{title}" '
        'style="max-width:100%;height:auto;font-family:system-ui,sans-serif"><title>{title}</title>{body}</svg>'
    ).format(name=name, w=width, h=height, title=title, body=body)


def bracket_bar(record: Record, wide: int = 960) -> Markup:
    """All examples as one bar from 0 to 100 %, the bracket above it and the confidence interval below.

    wide: units across; fewer of them make the words larger where the picture is scaled to a narrow page.
    """
    left, width, top, tall = 24, wide - 48, 64, 56
    s = record.summary
    at = 0.0
    parts = [_hatch()]
    for verdict, count in counts(record).items():
        share = count / s.examples if s.examples else 0.0
        if share > 0:
            parts.append(_segment(verdict, left + at * width, top, share * width, tall, share))
        at += share
    if not s.examples:
        parts.append(_box(left, top, width, tall, "none", stroke=LINE))
    low, high = left + s.certified * width, left + s.attacked * width
    said = f"{percent(s.certified)} proven – {percent(s.attacked)} not broken"
    if low == high:
        said = f"exactly {percent(s.certified)}" if s.examples else "no examples"
    parts += [
        _path(f"M{low:.1f} {top - 6}V{top - 18}H{high:.1f}V{top - 6}", INK, 2),
        _text(_inside((low + high) / 2, len(said) * 4.6, left, width), top - 28, said, size=17, weight=650),
    ]
    population = s.population
    a, b = left + population.low * width, left + population.high * width
    y = top + tall + 20
    level = percent(population.level, 0)
    place = "in the population" if wide >= 700 else "of all"
    interval = f"{percent(population.low)} – {percent(population.high)} {place} ({level} confidence)"
    parts += [
        _path(f"M{a:.1f} {y}H{b:.1f}M{a:.1f} {y - 5}V{y + 5}M{b:.1f} {y - 5}V{y + 5}", INK, 1.5),
        _text(_inside((a + b) / 2, len(interval) * 3.6, left, width), y + 22, interval, size=13, fill=SOFT),
    ]
    title = (
        f"Robust accuracy between {percent(s.certified)} certified and {percent(s.attacked)} attacked; "
        + ", ".join(f"{verdict} {count:,}" for verdict, count in counts(record).items())
    )
    return svg(wide, y + 34, title, Markup("").join(parts), "bracket" if wide == 960 else "bracket narrow")


def accuracy_curve(record: Record) -> Markup | None:
    """Robust accuracy against eps: certified below, broken above, unknown between; None where there are no sizes."""
    found = curve(record)
    if found is None:
        return None
    left, top, width, tall = 62, 18, 760, 300
    end = found.steps[-1].end

    def x(eps: float) -> float:
        return left + width * eps / end

    def y(share: float) -> float:
        return top + tall * (1 - share)

    upper, lower = _staircase(found, x, y)
    floor = f"V{y(0):.1f}H{left}Z"
    body = [
        _hatch(),
        _area(f"M{left} {y(1):.1f}H{left + width}{floor}", COLOURS["misclassified"], 0.22),
        _area(f"M{left} {y(found.clean):.1f}H{left + width}{floor}", COLOURS["broken"], 0.85),
        _area(f"M{left} {upper}{floor}", "var(--card,#fff)", 1),
        _area(f"M{left} {upper}{floor}", COLOURS["unknown"], 1),
        _area(f"M{left} {upper}{floor}", "url(#robustly-hatch)", 1),
        _area(f"M{left} {lower}{floor}", COLOURS["certified"], 1),
        _path(f"M{left} {upper}", INK, 2),
    ]
    for name, ink, place in _area_names(found):
        body.append(_text(x(place[0]), y(place[1]) + 5, name, size=14, fill=ink, weight=600))
    for share in (0, 0.25, 0.5, 0.75, 1):
        body += [
            _path(f"M{left - 5} {y(share):.1f}H{left}", SOFT, 1),
            _text(left - 10, y(share) + 4, f"{share:.0%}", size=12, fill=SOFT, anchor="end"),
        ]
    for eps in ticks(found.largest, whole=record.threat.startswith(("edits:", "l0:"))):
        body += [
            _path(f"M{x(eps):.1f} {y(0):.1f}v5", SOFT, 1),
            _text(x(eps), y(0) + 20, number(eps), size=12, fill=SOFT),
        ]
    body += [_path(f"M{left} {top}V{y(0):.1f}H{left + width}", SOFT, 1)]
    for point in record.sweep:
        said = f"eps {number(point.eps)}: {percent(point.certified)} certified, {percent(point.attacked)} attacked"
        body.append(
            Markup("<g>{}{}<title>{}</title></g>").format(
                _path(
                    f"M{x(point.eps):.1f} {y(point.attacked):.1f}V{y(point.certified):.1f}"
                    f"M{x(point.eps) - 5:.1f} {y(point.certified):.1f}h10",
                    INK,
                    1.5,
                ),
                _dot(x(point.eps), y(point.attacked)),
                said,
            )
        )
    if record.eps and record.eps < found.largest:
        body += [_path(f"M{x(record.eps):.1f} {top}V{y(0):.1f}", INK, 1.2, dash="4 4")]
        body += [_text(x(record.eps), top - 5, f"audited: {number(record.eps)}", size=12)]
    body.append(_text(left + width / 2, y(0) + 42, "size of the change (eps)", size=13, fill=SOFT))
    lower_end = next(s.certified for s in found.steps if s.end >= found.largest)
    title = (
        f"Robust accuracy falls from {percent(found.clean)} without a change to between {percent(lower_end)} and "
        f"{percent(found.steps[-1].attacked)} at eps {number(found.largest)}"
    )
    return svg(860, int(y(0)) + 54, title, Markup("").join(body), "curve")


def bars(values: np.ndarray, low: float, high: float, title: str, zero: float = 0.0) -> Markup:
    """A short signal as bars from `zero`, a long one as its envelope; `low` to `high` fill the height."""
    width, tall = 160, 96
    flat = np.nan_to_num(values.astype(np.float64).ravel(), nan=zero, posinf=high, neginf=low).clip(low, high)
    parts = np.array_split(flat, min(MOST_BARS, max(len(flat), 1)))
    step = width / len(parts)

    def y(value: float) -> float:
        return tall * (high - value) / (high - low)

    marks = []
    for i, part in enumerate(parts):
        a, b = (
            (float(part.min()), float(part.max()))
            if len(flat) > MOST_BARS
            else (zero, float(part[0]) if len(part) else zero)
        )
        top, bottom = sorted((y(a), y(b)))
        colour = COLOURS["certified"] if a + b < 2 * zero else COLOURS["broken"]
        marks.append(_box(i * step, top, max(step * 0.82, 0.6), max(bottom - top, 0.8), colour))
    base = _path(f"M0 {y(min(max(zero, low), high)):.1f}H{width}", SOFT, 0.7)
    return svg(width, tall, title, Markup("").join([*marks, base]), "bars")


def share_bar(share: float, colour: str = "var(--certified,#1268b3)") -> Markup:
    """A small bar for a table cell."""
    return Markup('<svg class="share" viewBox="0 0 100 8" width="100" height="8" aria-hidden="true">{}{}</svg>').format(
        _box(0, 0, 100, 8, "var(--line,#8884)", radius=4),
        _box(0, 0, max(0.0, min(1.0, share)) * 100, 8, colour, radius=4),
    )


def stacked(shares: tuple[float, float, float]) -> Markup:
    """A bar for a table cell: fractions certified, not broken and read correctly; the rest is not."""
    certified, attacked, clean = (max(0.0, min(1.0, end)) for end in shares)
    title = f"certified {percent(certified)}, attacked {percent(attacked)}, clean {percent(clean)}"
    body = [_box(0, 0, 100, 14, COLOURS["misclassified"])]
    ends: tuple[tuple[float, Verdict], ...] = ((clean, "broken"), (attacked, "unknown"), (certified, "certified"))
    body += [_box(0, 0, 100 * end, 14, COLOURS[verdict]) for end, verdict in ends]
    return Markup(
        '<svg viewBox="0 0 100 14" preserveAspectRatio="none" role="img" aria-label="{}"><title>{}</title>{}</svg>'
    ).format(title, title, Markup("").join(body))


def ticks(largest: float, whole: bool = False) -> list[float]:
    """Round sizes from 0 to the largest, at most nine of them; only whole numbers if sizes are counts."""
    unit = 10.0 ** math.floor(math.log10(largest))
    steps = [step for step in (unit / 5, unit / 2, unit, 2 * unit) if step >= 1 or not whole]
    step = next((step for step in steps if largest / step <= 8), 1.0)
    return [round(i * step, 12) for i in range(int(largest / step * (1 + 1e-9)) + 1)]


def _area_names(found: Curve) -> list[tuple[str, str, tuple[float, float]]]:
    """Name, ink and place (eps, share) of each area that is thick enough to hold its name."""
    largest = found.steps[-1].end
    out = []
    layers = (
        ("certified", ON_DARK, lambda s: (0.0, s.certified)),
        ("unknown", ON_PALE, lambda s: (s.certified, s.attacked)),
        ("broken", ON_DARK, lambda s: (s.attacked, found.clean)),
    )
    for name, ink, extent in layers:
        best, place = 0.11, None
        for tenth in range(2, 19):
            middle = largest * tenth / 20
            near = [extent(s) for s in found.steps if s.end > middle - largest / 16 and s.begin < middle + largest / 16]
            low, high = max(e[0] for e in near), min(e[1] for e in near)
            if high - low > best + 1e-9:
                best, place = high - low, (middle, (low + high) / 2)
        if place:
            out.append((name, ink, place))
    return out


def _staircase(found: Curve, x: Scale, y: Scale) -> tuple[str, str]:
    """The upper and the lower curve as SVG paths, from the left edge's y on."""
    upper = "".join(f"V{y(s.attacked):.1f}H{x(s.end):.1f}" for s in found.steps)
    lower = "".join(f"V{y(s.certified):.1f}H{x(s.end):.1f}" for s in found.steps)
    return f"{y(found.clean):.1f}{upper}", f"{y(found.steps[0].certified):.1f}{lower}"


def _segment(verdict: Verdict, x: float, y: float, width: float, tall: float, share: float) -> Markup:
    fill = COLOURS[verdict]
    out = Markup("<g><title>{} {}</title>{}").format(verdict, percent(share), _box(x, y, width, tall, fill))
    if verdict == "unknown":
        out += _box(x, y, width, tall, "url(#robustly-hatch)")
    if width > 56:
        ink = ON_PALE if verdict == "unknown" else ON_DARK
        out += _text(x + width / 2, y + tall / 2 + 6, percent(share), size=16, fill=ink, weight=600)
    return out + Markup("</g>")


def _hatch() -> Markup:
    return Markup(
        '<defs><pattern id="robustly-hatch" width="7" height="7" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)">'
        '<rect width="2.5" height="7" style="fill:var(--hatch,#ffffff73)"/></pattern></defs>'
    )


def _inside(middle: float, half: float, left: float, width: float) -> float:
    """Where a centred text of that half width must stand to stay inside."""
    return max(left + half, min(left + width - half, middle))


def _box(x: float, y: float, w: float, h: float, fill: str, stroke: str = "none", radius: float = 0) -> Markup:
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" rx="{}" style="fill:{};stroke:{}"/>').format(
        _n(x), _n(y), _n(w), _n(h), _n(radius), fill, stroke
    )


def _area(d: str, fill: str, opacity: float) -> Markup:
    return Markup('<path d="{}" style="fill:{};fill-opacity:{}"/>').format(d, fill, opacity)


def _path(d: str, stroke: str, width: float, dash: str = "none") -> Markup:
    return Markup('<path d="{}" style="fill:none;stroke:{};stroke-width:{};stroke-dasharray:{}"/>').format(
        d, stroke, width, dash
    )


def _dot(x: float, y: float) -> Markup:
    return Markup('<circle cx="{}" cy="{}" r="4" style="fill:{};stroke:var(--card,#fff);stroke-width:1.5"/>').format(
        _n(x), _n(y), INK
    )


def _text(
    x: float, y: float, text: str, size: int, fill: str = INK, weight: int = 400, anchor: str = "middle"
) -> Markup:
    return Markup('<text x="{}" y="{}" style="fill:{};font-size:{}px;font-weight:{};text-anchor:{}">{}</text>').format(
        _n(x), _n(y), fill, size, weight, anchor, text
    )


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
