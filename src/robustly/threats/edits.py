"""At most `most` insertions, deletions and substitutions of characters in a text, with new ones from an alphabet."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Self

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.rows import Batch, Texts, take
from robustly.threats.base import Domain, Finite
from robustly.threats.levenshtein import edits_between, slide

ALPHABET = string.ascii_lowercase + string.digits + " .,;:!?'\"-()@#$%&*/_"
"""What a careless or hostile typist writes."""
REACH = 512
"""Distances above this and above `most` are not measured: nothing needs them, and texts may be very long."""
KINDS = ("insert", "delete", "substitute")
SAMPLED = 256
"""Most edits of a random member."""
LISTED = 1 << 12
"""Up to this many edits of a text, all are listed and shuffled; above, they are drawn (which costs less)."""
SIFTED = 1 << 18
"""The same where few of the edits stay in the set, so that draws would mostly miss."""


@dataclass(frozen=True)
class EditSet(Finite):
    """All texts within `most` edits of x. A character is a Unicode code point.

    x: B texts. most: int64 (B,). alphabet: the distinct characters that an edit may write.
    """

    x: Texts  # pyright: ignore[reportIncompatibleVariableOverride] - frozen
    most: Tensor
    alphabet: str

    def contains(self, z: Batch) -> Tensor:
        """Bool (B,): at most `most` edits, which write only characters of the alphabet, turn x_i into z_i."""
        written = frozenset(self.alphabet)
        most = self.most.tolist()
        found = [edits_between(a, b, k, written) for a, b, k in zip(self.x, _texts(z), most, strict=True)]
        return torch.tensor([k is not None for k in found], dtype=torch.bool)

    def distance(self, z: Batch) -> Tensor:
        """Float64 (B,): the least edits that write only characters of the alphabet, which is what `contains` counts;
        infinite where there are none up to the larger of `most` and 512."""
        most, written = self.most.clamp_min(REACH).tolist(), frozenset(self.alphabet)
        found = [edits_between(a, b, k, written) for a, b, k in zip(self.x, _texts(z), most, strict=True)]
        return torch.tensor([float("inf") if k is None else k for k in found], dtype=torch.float64)

    def sample(self, key: Tensor) -> Texts:
        """`most` random edits (256 if it is larger), one after the other: kind, place and character uniform."""
        most = self.most.clamp_max(SAMPLED).tolist()
        words = keys.bits(key, 3 * max(most, default=0)).tolist()
        return tuple(self._edited(*row) for row in zip(self.x, most, words, strict=True))

    def moves(self, z: Batch, key: Tensor, count: int) -> tuple[Texts, Tensor]:
        """Up to `count` members one edit away from the members z: (candidates (M,), owner int64 (M,)), grouped by row.

        All of them, in random order, where there are no more than `count`; otherwise a random choice without repeats.
        Of texts with thousands of characters some may be missed where few edits lead to a new member.
        """
        return self._each(
            z, count, lambda row, text, inner: self._anywhere(row, text, inner, key[row : row + 1], count)
        )

    def beside(self, z: Batch, near: Batch, key: Tensor, count: int) -> tuple[Texts, Tensor]:
        """The moves of z at the place where `near` differs from it; none where it doesn't."""
        other = _texts(near)
        return self._each(z, count, lambda row, text, inner: self._at(text, other[row], key[row : row + 1]))

    def take(self, index: Tensor) -> Self:
        return replace(self, x=take(self.x, index), most=self.most[index])

    def _edited(self, text: str, most: int, words: list[int]) -> str:
        """The text after `most` edits, each told by three words: kind, place, character."""
        for index in range(most):
            word, place, new = words[3 * index : 3 * index + 3]
            kind = "delete" if not self.alphabet else "insert" if not text else KINDS[word * 3 >> 32]
            at = place * (len(text) + (kind == "insert")) >> 32
            written = "" if kind == "delete" else self.alphabet[new * len(self.alphabet) >> 32]
            text = text[:at] + written + text[at + (kind != "insert") :]
        return text

    def _each(self, z: Batch, count: int, numbers: Callable[[int, str, bool], Iterable[int]]) -> tuple[Texts, Tensor]:
        """A row's first `count` members among the numbered edits, which may differ where a text is inside the edge."""
        written = frozenset(self.alphabet)
        candidates: list[str] = []
        owner: list[int] = []
        for row, (x, text, most) in enumerate(zip(self.x, _texts(z), self.most.tolist(), strict=True)):
            inner = most > 0 and edits_between(x, text, most - 1, written) is not None
            moved = (_moved(text, number, self.alphabet) for number in numbers(row, text, inner))
            new = (m for m in moved if m is not None and (inner or edits_between(x, m, most, written) is not None))
            found = list(islice(new, count))
            candidates += found
            owner += [row] * len(found)
        return tuple(candidates), torch.tensor(owner, dtype=torch.int64)

    def _anywhere(self, row: int, text: str, inner: bool, key: Tensor, count: int) -> Iterator[int]:
        """Numbers of edits of the text (see `_moved`) in random order, without repeats."""
        each = 2 * len(self.alphabet) + 1
        low, high = 0, len(text)
        if not inner and each * len(text) > SIFTED:  # elsewhere one more edit would be one too many
            low, high = _changed(self.x[row], text, int(self.most[row]))
        first, total = low * each, (high - low) * each + len(self.alphabet)
        if total <= max(LISTED if inner else SIFTED, 4 * count):
            yield from (first + keys.permutation(key, total)[0]).tolist()
            return
        seen: set[int] = set()
        for block in range(16):
            words = keys.bits(keys.fold(key, block), 2 * count)[0].tolist()
            for high_word, low_word in zip(words[::2], words[1::2], strict=True):
                index = first + ((high_word << 32 | low_word) * total >> 64)
                if index not in seen:
                    seen.add(index)
                    yield index

    def _at(self, text: str, near: str, key: Tensor) -> Iterable[int]:
        """Numbers of the edits at the place where another text differs, in random order."""
        if text == near:
            return ()
        place, _ = slide(text, near, (0, 0))
        slots = len(self.alphabet) * (1 if place == len(text) else 2) + (place < len(text))
        return (place * (2 * len(self.alphabet) + 1) + keys.permutation(key, slots)[0]).tolist()


@dataclass(frozen=True)
class Edits:
    """At most `most` characters inserted, deleted or substituted: Edits(2). New characters come from the alphabet."""

    most: int
    alphabet: str = ALPHABET

    def at(self, x: Batch | list[str], domain: Domain = Domain()) -> EditSet:  # noqa: B008 - frozen
        if isinstance(x, (str, bytes)) or not isinstance(x, (tuple, list)):
            got = "one text" if isinstance(x, (str, bytes)) else type(x).__name__
            raise UsageError(f"{self} needs a tuple of texts, got {got}. For numbers use a norm ball, say linf:8/255.")
        wrong = next((i for i, text in enumerate(x) if not isinstance(text, str)), None)
        if wrong is not None:
            raise UsageError(f"{self} needs texts, but input {wrong} is {type(x[wrong]).__name__}: convert it to str.")
        if isinstance(self.most, bool) or not isinstance(self.most, int) or self.most < 0:
            raise UsageError(f"a number of edits is whole and >= 0, got {self.most!r}. Write Edits(2).")
        if not isinstance(self.alphabet, str):
            raise UsageError(f'the alphabet of edits is a str, say "abc", got {type(self.alphabet).__name__}.')
        most = torch.full((len(x),), self.most, dtype=torch.int64)
        return EditSet(tuple(x), most, "".join(dict.fromkeys(self.alphabet)))

    def __str__(self) -> str:
        return f"edits:{self.most}" + ("" if self.alphabet == ALPHABET else f" writing {self.alphabet!r}")


def _moved(text: str, index: int, alphabet: str) -> str | None:
    """The text after the edit of that number, or None where it changes nothing or another number gives the same text.

    At place p = index // (2A + 1): insert one of A characters before p, substitute p by one of A, delete p.
    """
    place, slot = divmod(index, 2 * len(alphabet) + 1)
    before = text[place - 1] if place else ""
    if slot == 2 * len(alphabet):
        return None if text[place] == before else text[:place] + text[place + 1 :]
    new = alphabet[slot % len(alphabet)]
    if slot < len(alphabet):
        return None if new == before else text[:place] + new + text[place:]
    return None if new == text[place] else text[:place] + new + text[place + 1 :]


def _changed(x: str, text: str, margin: int) -> tuple[int, int]:
    """The stretch of the text outside of which it agrees with x, widened by a margin."""
    start = slide(x, text, (0, 0))[1]
    end = len(text) - slide(x[::-1], text[::-1], (0, 0))[1]
    return max(0, min(start, end) - margin), min(len(text), max(start, end) + margin)


def _texts(z: Batch) -> Texts:
    assert not isinstance(z, Tensor), "a set of texts was asked about a tensor"
    return z
