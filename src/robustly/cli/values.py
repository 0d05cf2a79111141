"""Words of the command line as values: times, ranges, sizes, settings. Each refusal says what to write."""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from robustly.core.errors import UsageError, nearest

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def duration(text: str | None) -> float | None:
    """Seconds of 60, 60s, 5m or 1.5h.

    Raises:
        UsageError: anything else.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(s|m|min|h|)", text.strip().lower())
    if not found or float(found[1]) <= 0:
        raise UsageError(f'--time is a duration above 0 such as 60s, 5m or 1h, got "{text}".')
    return float(found[1]) * UNITS[found[2]]


def amount(text: str, what: str) -> float:
    """A finite number, also written as a fraction: 0.1, -1, 8/255.

    Raises:
        UsageError: anything else.
    """
    try:
        value = float(Fraction(text.replace(" ", ""))) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise UsageError(f'{what}: "{text}" is no number. Write it as 0.1 or 8/255.') from None
    if not math.isfinite(value):
        raise UsageError(f'{what}: "{text}" is not finite.')
    return value


def sizes(text: str | None) -> tuple[float, ...]:
    """The sizes of a sweep: 0,0.05,0.1,8/255.

    Raises:
        UsageError: an empty place, a number that is negative or none.
    """
    if text is None:
        return ()
    values = tuple(amount(part, "--eps (sizes separated by commas, say 0,0.05,8/255)") for part in text.split(","))
    negative = next((v for v in values if v < 0), None)
    if negative is not None:
        raise UsageError(f"--eps: a size is at least 0, got {negative:g}.")
    return values


def interval(text: str | None) -> tuple[float, float] | None:
    """A range of inputs: 0,1 or 0,255.

    Raises:
        UsageError: not two numbers in rising order.
    """
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 2:
        raise UsageError(f'--range is two numbers, lowest and highest, say --range 0,1; got "{text}".')
    low, high = (amount(part, "--range (lowest,highest)") for part in parts)
    if not low < high:
        raise UsageError(f"--range is the lower number first, say --range 0,1; got {low:g},{high:g}.")
    return low, high


def batch(text: str) -> int | str:
    """ "auto" or a whole number of examples.

    Raises:
        UsageError: anything else.
    """
    if text == "auto":
        return text
    if not re.fullmatch(r"\d+", text, re.ASCII) or int(text) < 1:
        raise UsageError(f'--batch is auto or a whole number of examples from 1, got "{text}".')
    return int(text)


def fraction(value: float | None, what: str) -> float | None:
    """A number between 0 and 1, or None.

    Raises:
        UsageError: anything else.
    """
    if value is not None and not 0 <= value <= 1:
        raise UsageError(f"{what} is a fraction between 0 and 1, got {value:g}. Write 0.40 for 40 %.")
    return value


def at_least(value: int | None, least: int, what: str) -> int | None:
    """A whole number of at least so much, or None.

    Raises:
        UsageError: it is less.
    """
    if value is not None and value < least:
        raise UsageError(f"{what} is a whole number from {least}, got {value}.")
    return value


def classes(text: str | None) -> tuple[int | None, tuple[str, ...]]:
    """The number of classes and their names, of 10 or of cat,dog; names are empty where only the number is given.

    Raises:
        UsageError: a single word, an empty name, or one name twice.
    """
    if text is None:
        return None, ()
    if re.fullmatch(r"\d+", text.strip(), re.ASCII):
        return int(text), ()
    names = tuple(name.strip() for name in text.split(","))
    if len(names) < 2 or not all(names) or len(set(names)) < len(names):
        raise UsageError(
            "--classes is the number of classes, or their names separated by commas, each once: "
            f'--classes 10 or --classes cat,dog; got "{text}".'
        )
    return len(names), names


def one_of(text: str | None, known: Sequence[str], what: str) -> str | None:
    """The word, if it is known.

    Raises:
        UsageError: it isn't; the message has the nearest.
    """
    if text is not None and text not in known:
        raise UsageError(f'{what}: unknown word "{text}".{nearest(text, known)}')
    return text


def recordable(word: str, what: str) -> None:
    """Refuse a name that a record, which is UTF-8, could not hold.

    Raises:
        UsageError: a file name in another encoding.
    """
    try:
        word.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{what}: the name {word!r} is not valid UTF-8, so no record could name it. Rename it."
        ) from None


def settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Arguments of an attack: steps=20, size=0.1, loss=margin, eps=8/255, inner={attack="pgd", steps=5} (TOML values).

    Raises:
        UsageError: no "=", or one argument twice.
    """
    out: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        key = key.strip().replace("-", "_")
        if not sign or not key:
            raise UsageError(f'--set takes NAME=VALUE, say --set steps=20; got "{pair}".')
        if key in out:
            raise UsageError(f"--set {key} was given twice; give it once.")
        out[key] = _value(text.strip())
    return out


def _value(text: str) -> Any:
    if re.fullmatch(r"[-+]?\d+/\d+", text):
        return amount(text, "--set")
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word, such as the name of a loss


def writable(text: str | None, what: str) -> Path | None:
    """A file to write at the end, refused now if it can't be.

    Raises:
        UsageError: it is a folder, or its folder can't be written.
    """
    if text is None:
        return None
    path = Path(text)
    if path.is_dir():
        raise UsageError(f"{what} is a file to write, but {path} is a folder. Write {path / 'result'} or so.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(f"{what}: cannot write in {folder}. Choose another place.")
    return path
