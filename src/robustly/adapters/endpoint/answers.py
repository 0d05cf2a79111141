"""From the bytes of an answer to scores or labels, with one clear sentence for each way in which they may be wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import jmespath
import torch
from jmespath.exceptions import JMESPathError
from torch import Tensor

from robustly.adapters.endpoint.faults import Misfit, Passing
from robustly.adapters.endpoint.settings import Settings
from robustly.core.errors import UsageError

SHOWN = 200
"""Characters of an answer that are repeated in a message."""
LOOKED_AT = 2**16
"""Bytes of an answer that are looked through for them."""


LARGEST = float(torch.finfo(torch.float32).max)
"""Of a score: beyond it, all would be infinite alike."""
MOST = 2**31
"""Classes at most, where nothing says how many there are."""
NO_LABEL = -1
"""What an endpoint says that will not say a label, since the best scores are tied, say: never the right one."""


class Reader:
    """Reads answers as the settings say. classes: how many there are, once known. labels_only: scores are not looked for.
    heard: an answer made sense, so that the next ones must give the same. hidden: takes the secret out of a text, since a
    server may repeat it in any answer."""

    def __init__(self, settings: Settings) -> None:
        self.names: tuple[str, ...] = settings.names
        self.classes: int | None = len(settings.names) or settings.classes
        self._scores = _path(settings.answer.scores, "scores")
        self._label = _path(settings.answer.label, "label")
        self._paths = (settings.answer.scores, settings.answer.label)
        self.labels_only = self._scores is None
        self.heard = False
        self.hidden: Callable[[str], str] = str

    def rows(self, content: bytes, count: int) -> list[Any]:
        """What an answer to `count` inputs says of each, as JSON values.

        Raises:
            Passing: no JSON.
            Misfit: JSON, but not so many rows where the path leads.
        """
        try:
            said = json.loads(content)
        except (ValueError, RecursionError):
            text = self.hidden(content[:LOOKED_AT].decode("utf-8", "replace"))  # before it is cut: half a secret is one
            raise Passing(f"the endpoint's answer is no JSON: {_shown(text.encode())}") from None
        path, what = (self._label, self._paths[1]) if self.labels_only else (self._scores, self._paths[0])
        found = _found(path, said)
        if found is None and not self.labels_only and not self.heard and self._label is not None:
            found = _found(self._label, said)  # the first answer: it gives labels only, and so will the others
            self.labels_only = found is not None
        if found is None:
            raise Misfit(self._nothing(said, str(what)))
        rows = _each(found, count, self.labels_only)
        if rows is None:
            got = f"{len(found)} rows" if isinstance(found, list) else _kind(found)
            raise Misfit(f'"{what}" in the answer gives {got} for {count} input{"s" * (count > 1)}')
        return self._clean(rows)

    def _clean(self, said: Any) -> Any:
        """A JSON value without the secret."""
        if isinstance(said, str):
            return self.hidden(said)
        if isinstance(said, dict):
            return {self.hidden(key): self._clean(value) for key, value in said.items()}
        if isinstance(said, list):
            return [one if isinstance(one, (float, int)) else self._clean(one) for one in said]
        return said

    def _nothing(self, said: Any, path: str) -> str:
        only = not self.labels_only and _found(self._label, said) is not None
        said = self._clean(said)
        keys = _shown(", ".join(list(said)[:8]).encode("utf-8", "replace")) if isinstance(said, dict) else ""
        has = f"its keys are {keys}" if isinstance(said, dict) else f"it is {_kind(said)}"
        told = f'nothing stands at "{path}" in the answer; {has}: {_shown(json.dumps(said).encode())}'
        lacking = "the endpoint answers without scores, which a score attack needs; for labels alone write label only: "
        return (lacking if only else "") + told

    def read(self, rows: Sequence[Any]) -> Tensor:
        """Scores float32 (R, K), or labels int64 (R,), of what answers said.

        Raises:
            Misfit: not numbers, NaN, a label or a number of scores that the settings or earlier answers don't know.
        """
        return self.tensor([self.one(row) for row in rows])

    def one(self, row: Any) -> list[float] | int:
        """The scores, or the label, of what was said of one input.

        Raises:
            Misfit: as `read`.
        """
        if self.labels_only:
            return self._index(row)
        vector = self._vector(row)
        if self.classes is None and len(vector) > 1:
            self.classes = len(vector)
        if len(vector) != self.classes:
            raise Misfit(f"the endpoint answered {len(vector)} scores, where {self.classes or 'at least 2'} are wanted")
        return vector

    def tensor(self, values: Sequence[list[float] | int]) -> Tensor:
        """Values of `one` as scores float32 (R, K), or labels int64 (R,)."""
        if self.labels_only:
            return torch.tensor(values, dtype=torch.int64)
        return torch.tensor(values, dtype=torch.float64).float()

    def complaint(self, rows: Sequence[Any]) -> Misfit | None:
        """What is wrong with the first of the rows, where something is with all of them."""
        first: Misfit | None = None
        for row in rows:
            try:
                self.one(row)
            except Misfit as error:
                first = first or error
            else:
                return None
        return first

    def _index(self, row: Any) -> int:
        if isinstance(row, str):
            return self._named(row)
        if isinstance(row, float) and row == row // 1:
            row = int(row)
        if not isinstance(row, int) or isinstance(row, bool):
            raise Misfit(f"the endpoint answered {_shown(json.dumps(row).encode())} where a label should stand")
        if not NO_LABEL <= row < (MOST if self.classes is None else self.classes):
            told = _shown(str(row).encode())
            raise Misfit(
                f"the endpoint answered the label {told}, which is none of the {self.classes or 'labels'} known"
            )
        return row

    def _named(self, label: str) -> int:
        if label in self.names:
            return self.names.index(label)
        if not self.names:
            told = 'a word: write names = ["...", "..."] of all classes, in the order of the data\'s labels'
            raise Misfit(f"the endpoint answers with the label {_quoted(label)}, {told}")
        known = ", ".join(self.names[:8])
        raise Misfit(f"the endpoint answered the label {_quoted(label)}, which the data do not know: {known}")

    def _vector(self, row: Any) -> list[float]:
        if isinstance(row, list) and row and all(isinstance(one, dict) for one in row):
            row = {str(one.get("label")): one.get("score") for one in row}
        if isinstance(row, dict):
            if not self.names:
                raise Misfit('the endpoint answers with scores by name: write names = ["...", "..."] of all classes')
            for name in row:
                self._named(str(name))
            lacking = [name for name in self.names if name not in row]
            if lacking:
                raise Misfit(
                    f"the endpoint answered no score for {_quoted(lacking[0])}; only its best ones? Use labels"
                )
            row = [row[name] for name in self.names]
        if not isinstance(row, list):
            raise Misfit(f"the endpoint answered {_kind(row)} where a row of scores should stand")
        return [_number(score) for score in row]


def _number(score: Any) -> float:
    if isinstance(score, str):
        odd = score.strip().lower() in ("nan", "inf", "-inf", "infinity", "-infinity")
        told = (
            f"answered {_quoted(score)} as a score"
            if odd
            else f"answers with texts for scores, such as {_quoted(score)}"
        )
        raise Misfit(f"the endpoint {told}, where a number should stand")
    if score is None or isinstance(score, (bool, list, dict)):
        raise Misfit(f"the endpoint answered {_kind(score)} as a score, where a number should stand")
    if isinstance(score, float) and not math.isfinite(score):
        raise Misfit(f"the endpoint answered {score} as a score, which is no finite number")
    if abs(score) > LARGEST:  # compared as it came: a whole number may be too large for any float
        raise Misfit("the endpoint answered a score beyond the range of float32, where all would be infinite alike")
    return float(score)


def _each(found: Any, count: int, labels: bool) -> list[Any] | None:
    """One value an input; for a single input the value may stand alone."""
    plain = (str, int, float)
    if count == 1 and not isinstance(found, list):
        return [found]
    if not isinstance(found, list):
        return None
    scored = bool(found) and all(isinstance(one, dict) and "score" in one for one in found)
    row = scored or (len(found) > 0 and all(isinstance(one, plain) or one is None for one in found))
    if count == 1 and row and not labels:
        return [found]
    return found if len(found) == count else None


def _path(path: str | None, what: str) -> Any:
    if path is None:
        return None
    try:
        return jmespath.compile(path)
    except JMESPathError as error:
        told = str(error).splitlines()[0]
        raise UsageError(f'answer.{what} = "{path}" of the endpoint is no JMESPath: {told}.') from None


def _found(path: Any, said: Any) -> Any:
    """What stands at a path, None for nothing; a function in it that does not take what is there finds nothing."""
    try:
        return None if path is None else path.search(said)
    except (JMESPathError, RecursionError):
        return None


def _shown(content: bytes) -> str:
    text = content[: 4 * SHOWN].decode("utf-8", "replace")
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    return f"{text[:SHOWN]}..." if len(text) > SHOWN else text or "nothing at all"


def _quoted(text: str) -> str:
    return f'"{_shown(text.encode("utf-8", "replace"))}"'


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return kinds.get(type(value), "a number")
