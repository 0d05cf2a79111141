"""A transfer matrix as lines of text, as a table for the terminal, and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from robustly.core.transfers import Cell, Transfer
from robustly.report.escape import visible
from robustly.report.plain import Plain
from robustly.report.plots import svg
from robustly.report.words import percent

COUNTS = (
    "Rows: attacked on. Columns: asked. Only examples that both models read rightly count; where the attack found "
    "nothing on the first, nothing transferred."
)
MOST_NAME = 28
"""Characters of a model's name in the picture."""


def plain_matrix(found: Transfer) -> str:
    """The matrix as lines: rates with their counts, the convention, and what each model reads rightly."""
    names = [f"{i + 1}: {visible(model.name)}" for i, model in enumerate(found.models)]
    wide = max(len(name) for name in names)
    head = " " * wide + "".join(f"{f'on {i + 1}':>20}" for i in range(len(names)))
    lines = [f"{visible(found.attack)} under {visible(found.threat)}, {found.data.count:,} examples", head]
    for i, name in enumerate(names):
        cells = (found.cell(i, j) for j in range(len(names)))
        lines.append(name.ljust(wide) + "".join(f"{said(cell):>20}" for cell in cells))
    reads = ", ".join(f"{i + 1} {percent(share)}" for i, share in enumerate(found.clean))
    return "\n".join([*lines, COUNTS, f"Read rightly when unperturbed: {reads}."])


def said(cell: Cell) -> str:
    """A rate with its count: 62.0 % (31/50)."""
    return f"{percent(cell.rate)} ({cell.transferred}/{cell.counted})"


def matrix_table(found: Transfer) -> RenderableType:
    """The matrix for `rich`. Names cannot command the terminal."""
    return _Shown(found)


@dataclass(frozen=True)
class _Shown:
    found: Transfer

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        found, plain = self.found, Plain(options.encoding)
        yield plain.text(f"{found.attack} under {found.threat}, {found.data.count:,} examples")
        table = Table(box=None, pad_edge=False)
        table.add_column("found on", overflow="fold")
        table.add_column("reads rightly", justify="right")
        for i, _ in enumerate(found.models):
            table.add_column(f"breaks {i + 1}", justify="right")
        for i, model in enumerate(found.models):
            cells = (plain.text(said(found.cell(i, j))) for j in range(len(found.models)))
            table.add_row(plain.text(f"{i + 1}  {model.name}"), plain.text(percent(found.clean[i])), *cells)
        yield table
        yield Text(COUNTS)


def matrix_picture(found: Transfer) -> Markup:
    """The matrix as an SVG: the darker a cell, the more transfers; its title says the counts and the interval."""
    side, left, top = 96, 230, 110
    count = len(found.models)
    parts = []
    for i, model in enumerate(found.models):
        name = visible(model.name, most=MOST_NAME)
        middle = side * (i + 0.5)
        parts.append(_words(left - 12, top + middle + 5, name, "end"))
        turned = Markup('<g transform="translate({},{}) rotate(-35)">{}</g>')
        parts.append(turned.format(f"{left + middle:.0f}", top - 10, _words(0, 0, name, "start")))
    for i in range(count):
        for j in range(count):
            parts.append(_square(found, found.cell(i, j), left + j * side, top + i * side, side))
    foot = top + count * side
    parts.append(_words(left, foot + 24, "rows: attacked on; columns: asked", "start", 12))
    parts.append(_words(left, foot + 42, "of the examples that both read rightly", "start", 12))
    title = f"Transfer between {count} models under {visible(found.threat, most=80)}: {visible(found.attack, most=120)}"
    return svg(left + count * side + 150, foot + 56, title, Markup("").join(parts), "transfer")


def matrix_html(found: Transfer) -> str:
    """The picture with the convention below it, for a notebook cell."""
    told = Markup('<div class="robustly"><p style="font-weight:600">{}</p>{}<p style="opacity:.8">{}</p></div>')
    return str(told.format(visible(f"{found.attack} under {found.threat}", most=300), matrix_picture(found), COUNTS))


def _square(found: Transfer, cell: Cell, x: float, y: float, side: float) -> Markup:
    names = [visible(found.models[place].name, most=60) for place in (cell.source, cell.target)]
    share = cell.rate or 0.0
    low, high = percent(cell.interval.low), percent(cell.interval.high)
    title = (
        f"found on {names[0]}, asked of {names[1]}: {cell.transferred} of {cell.counted} ({percent(cell.rate)}; {low} to "
        f"{high} with {percent(cell.interval.level, 0)} confidence); of the {cell.found} found {percent(cell.given_found)}"
    )
    box = Markup(
        '<rect x="{}" y="{}" width="{}" height="{}" style="fill:var(--broken,#c2540a);fill-opacity:{};'
        'stroke:var(--line,#9998)"/>'
    ).format(x, y, side, side, f"{share:.3f}")
    ink = "var(--on-dark,#fff)" if share > 0.55 else "var(--ink,currentColor)"
    middle = x + side / 2
    return Markup("<g><title>{}</title>{}{}{}</g>").format(
        title,
        box,
        _words(middle, y + side / 2 + 2, percent(cell.rate), "middle", 17, ink),
        _words(middle, y + side / 2 + 22, f"{cell.transferred} of {cell.counted}", "middle", 12, ink),
    )


def _words(x: float, y: float, text: str, anchor: str, size: int = 14, ink: str = "var(--ink,currentColor)") -> Markup:
    return Markup('<text x="{}" y="{}" style="fill:{};font-size:{}px;text-anchor:{}">{}</text>').format(
        f"{x:.0f}", f"{y:.0f}", ink, size, anchor, text
    )
