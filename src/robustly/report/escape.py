"""Text that came from outside, made safe to look at: nothing in it may hide, reorder or command."""

from __future__ import annotations

import unicodedata

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories that show nothing themselves: control and format characters (ANSI escapes, bidi overrides, zero
widths), lone surrogates, line and paragraph separators."""


def visible(text: object, keep: str = "", most: int | None = None) -> str:
    """The text with every character that hides written out, as in ⟨U+202E⟩; always valid in XML and in UTF-8.

    keep: characters left as they are, say a line break. most: longer texts are cut, and end in an ellipsis.
    """
    text = str(text)
    if most is not None and len(text) > most:
        text = text[: max(most - 1, 0)] + "…"
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or not _hides(c) else f"⟨U+{ord(c):04X}⟩" for c in text)


def _hides(character: str) -> bool:
    return unicodedata.category(character) in HIDDEN or ord(character) & 0xFFFE == 0xFFFE  # the last two are no XML
