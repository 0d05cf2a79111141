"""Two texts as one, with the edits marked."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from markupsafe import Markup

from robustly.report.escape import visible

CONTEXT = 80
"""Characters shown on either side of an edit."""
LONGEST = 300
"""Characters shown of one edit, and edits shown of one text."""
EXACT = 3000
"""A changed stretch longer than this is shown as one replacement: an exact alignment costs its square."""


class Piece(NamedTuple):
    """A stretch of text that both share, or that only one of them has."""

    kind: Literal["same", "gone", "new"]
    text: str


def pieces(before: str, after: str) -> list[Piece]:
    """Before and after, cut into what is the same, gone and new; the first two joined give `before`."""
    start = _shared(before, after)
    end = _shared(before[start:][::-1], after[start:][::-1])
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    out = [Piece("same", before[:start])]
    if max(len(old), len(new)) > EXACT:
        out += [Piece("gone", old), Piece("new", new)]
    else:
        for tag, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            out += [Piece("same", old[a:b])] if tag == "equal" else [Piece("gone", old[a:b]), Piece("new", new[c:d])]
    out.append(Piece("same", before[len(before) - end :]))
    return [piece for piece in out if piece.text]


def shortened(found: list[Piece]) -> list[Piece]:
    """The pieces with what both texts share left out where it is far from any edit."""
    last = len(found) - 1
    return [
        Piece("same", _cut(piece.text, first=i == 0, last=i == last)) if piece.kind == "same" else piece
        for i, piece in enumerate(found)
    ]


def difference(before: str, after: str) -> Markup:
    """The two texts as one: what went struck through, what came underlined; far from any edit it is left out."""
    shown, edits = [], 0
    for piece in shortened(pieces(before, after)):
        if piece.kind == "same":
            shown.append(Markup("{}").format(visible(piece.text, keep="\n\t")))
            continue
        edits += 1
        if edits > LONGEST:
            shown.append(Markup("<b>… more edits left out</b>"))
            break
        tag = "del" if piece.kind == "gone" else "ins"
        text = visible(piece.text, most=LONGEST).replace(" ", "␣")
        shown.append(Markup("<{tag}>{text}</{tag}>").format(tag=tag, text=text))
    return Markup("").join(shown)


def _cut(text: str, first: bool, last: bool) -> str:
    """A shared stretch: its ends next to the edits on either side of it."""
    before = "" if first and not last else text[:CONTEXT]
    after = "" if last else text[-CONTEXT:]
    return f"{before} … {after}" if len(text) > len(before) + len(after) else text


def _shared(a: str, b: str) -> int:
    """Length of the common beginning, by halving, so that a million characters cost little."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low
