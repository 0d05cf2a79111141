"""S-expressions with the place each stands at."""

from __future__ import annotations

import re
from typing import TypeAlias

from robustly.core.errors import UsageError

_TOKEN = re.compile(r";[^\n]*|\(|\)|\|[^|]*\||[^\s();|]+")


class Form(list["Form | str"]):
    """What stands between two parentheses: words and further forms. at: the offset of the opening one in the text."""

    __slots__ = ("at",)

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    @property
    def word(self) -> str:
        """What it begins with, or nothing where that is a form."""
        first = self[0] if self else ""
        return first if isinstance(first, str) else ""


Part: TypeAlias = Form | str


class Text:
    """A text with its name, for messages that say where."""

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name

    def wrong(self, at: int, what: str) -> UsageError:
        """An error at an offset, with its line."""
        return UsageError(f"{self.name}, line {self.text.count(chr(10), 0, at) + 1}: {what}")

    def forms(self) -> list[Form]:
        """The forms of the text, comments (; to the end of the line) left out.

        Raises:
            UsageError: a parenthesis too many or too few, or a word outside of any.
        """
        top: list[Form] = []
        open_: list[Form] = []
        for found in _TOKEN.finditer(self.text):
            token = found.group()
            if token[0] == ";":
                continue
            if token == "(":
                form = Form(found.start())
                (open_[-1] if open_ else top).append(form)
                open_.append(form)
            elif token == ")":
                if not open_:
                    raise self.wrong(found.start(), "a ) that closes nothing. Take it out.")
                open_.pop()
            elif not open_:
                raise self.wrong(found.start(), f'"{token[:40]}" stands outside of any (...).')
            else:
                open_[-1].append(token)
        if open_:
            raise self.wrong(open_[-1].at, "a ( that is never closed. Add a ) or see whether the file was cut off.")
        return top
