"""Text that a terminal's encoding can write, with nothing in it that commands or hides."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text

from robustly.report.escape import visible


@dataclass(frozen=True)
class Plain:
    """Makes rich texts for a terminal of this encoding; never reads markup."""

    encoding: str

    def text(self, value: object, style: str = "") -> Text:
        """The value as a text: what the encoding lacks is written as \\u202e and the like."""
        shown = visible(value, most=1000).replace("\u00a0", " ")
        try:
            shown.encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            shown = shown.replace("–", "-").replace("…", "...").encode("ascii", "backslashreplace").decode()
        return Text(shown, style)
