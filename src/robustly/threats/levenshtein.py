"""How many character edits lead from one text to another.

A cell (i, j) says that x[:i] has become z[:j]. Agreeing characters are free, so from a cell one first slides along the
diagonal as far as the texts agree, and one edit leads to at most three new cells (Ukkonen 1985, "Algorithms for
approximate string matching"; Landau & Vishkin 1989). The work depends on the number of edits, hardly on the length.

Sliding first loses nothing, also where only some characters may be written: if x and z begin alike, any script that
does not keep that first character can be turned into one that does, at no higher cost and writing nothing else.
"""

from __future__ import annotations

from collections.abc import Collection

Cell = tuple[int, int]


def edits_between(x: str, z: str, most: int, written: Collection[str] | None = None) -> int | None:
    """The least number of insertions, deletions and substitutions that turn x into z; None if above `most`.

    written: the characters that may be inserted or substituted; None for all, which is the Levenshtein distance.
    """
    end = (len(x), len(z))
    reached = {slide(x, z, (0, 0))}
    seen = set(reached)
    for edits in range(most + 1):
        if end in reached:
            return edits
        left = most - edits - 1
        steps = {cell for old in reached for cell in _steps(z, old, end, written)}
        near = (cell for cell in steps if abs(end[0] - cell[0] - end[1] + cell[1]) <= left)
        reached = {slide(x, z, cell) for cell in near} - seen
        if written is None:  # on each diagonal only the furthest cell matters, once every character may be written
            reached = set({i - j: (i, j) for i, j in sorted(reached)}.values())
        else:
            seen |= reached
    return None


def slide(x: str, z: str, cell: Cell) -> Cell:
    """The cell where x[i:] and z[j:] first differ, or either ends; by doubling, then halving, slices."""
    i, j = cell
    size, growing = 8, True
    while size:
        same = i + size <= len(x) and j + size <= len(z) and x[i : i + size] == z[j : j + size]
        if same:
            i, j = i + size, j + size
        growing = growing and same
        size = size * 2 if growing else size // 2
    return i, j


def _steps(z: str, cell: Cell, end: Cell, written: Collection[str] | None) -> list[Cell]:
    """The cells one edit away: a deletion, an insertion, a substitution."""
    i, j = cell
    out = [(i + 1, j)] if i < end[0] else []
    if j < end[1] and (written is None or z[j] in written):
        out.append((i, j + 1))
        if i < end[0]:
            out.append((i + 1, j + 1))
    return out
