"""The example the package carries: three small Fashion-MNIST classifiers and 1000 test images.

This module reads only the cards, so that listing the zoo does not import torch; `robustly.zoo.load` gives the
networks and the images. How they were made stands in README.md beside this file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from robustly.core.errors import UsageError, nearest

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """What is known of one carried network or image set; accuracies are fractions of the 1000 carried images."""

    name: str
    kind: str  # "network" or "images"
    title: str
    source: str
    licence: str
    classes: tuple[str, ...]
    domain: tuple[float, float]  # lowest and highest pixel value
    eps: float | None = None  # the linf radius of the two robust accuracies below; None for images
    clean: float | None = None  # right on the unchanged image
    pgd: float | None = None  # still right at every point of PGD-20
    certified: float | None = None  # right in the whole ball, proved by interval bounds with the last layer merged


@cache
def _entries() -> dict[str, Entry]:
    cards = json.loads((FOLDER / "cards.json").read_text(encoding="utf-8"))
    shared = {
        **cards["shared"],
        "classes": tuple(cards["shared"]["classes"]),
        "domain": tuple(cards["shared"]["domain"]),
    }
    return {name: Entry(name=name, **shared, **card) for name, card in cards["entries"].items()}


def names() -> tuple[str, ...]:
    """Names of the carried networks."""
    return tuple(name for name, entry in _entries().items() if entry.kind == "network")


def data_names() -> tuple[str, ...]:
    """Names of the carried image sets."""
    return tuple(name for name, entry in _entries().items() if entry.kind == "images")


def describe(name: str) -> Entry:
    """The entry of a network or an image set.

    Raises:
        UsageError: the zoo carries nothing of that name.
    """
    return _entries()[_known(name, (*names(), *data_names()), "entry")]


def _known(name: str, carried: tuple[str, ...], what: str) -> str:
    """`name` if it is carried, else an error with the nearest name."""
    if name not in carried:
        raise UsageError(f'the zoo has no {what} called "{name}".{nearest(name, carried)}')
    return name
