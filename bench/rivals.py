"""Which query attacks are compared on which question, and at which settings: the papers' own, where they give one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.subjects import Subject
from robustly.core.specs import build
from robustly.steps import Attack

L2 = {"fashion_mnist": 1.5, "mnist": 3.0, "cifar10": 0.5}
"""Radii for success under l2, by data."""


@dataclass(frozen=True)
class Rival:
    """An attack of ours by its registered name, or a peer's in the table of bench/peer_attacks.py."""

    peer: str
    attack: str
    steps: int = 0
    arguments: tuple[tuple[str, Any], ...] = ()

    def make(self) -> Attack:
        """Our attack."""
        return build("attack", self.attack, dict(self.arguments))

    @property
    def label(self) -> str:
        """Name and arguments in words, fit for a file's name."""
        told = "_".join(f"{k}={v}" for k, v in self.arguments)
        return " ".join(part for part in (self.peer, self.attack, told) if part and part != "ours")


@dataclass(frozen=True)
class Question:
    """One comparison. fixed: success within a radius is compared, not distance. half: the best of ours is also to reach
    HopSkipJump's distance with half its queries. The first of ours is the one that is held to the peers."""

    name: str
    norm: str
    ours: tuple[Rival, ...]
    theirs: tuple[Rival, ...]
    fixed: bool = False
    half: bool = False

    def radius(self, one: Subject) -> float:
        """The radius of success."""
        return one.eps if self.norm == "linf" else L2[one.data]


def mine(attack: str, **arguments: Any) -> Rival:
    """Ours."""
    return Rival("ours", attack, arguments=tuple(arguments.items()))


def peer(who: str, attack: str, steps: int, **options: Any) -> Rival:
    """A peer's."""
    return Rival(who, attack, steps, tuple(options.items()))


ALL = 5000
"""The budget of queries, which attacks with a schedule are told beforehand."""

WALKS = (peer("Foolbox", "hopskipjump", ALL), peer("ART", "hopskipjump", ALL))
"""The labels-only attack that all are measured by."""

QUESTIONS: tuple[Question, ...] = (
    Question(
        "square", "linf", (mine("square", queries=ALL),),
        (peer("authors", "square", ALL), peer("ART", "square", ALL)), fixed=True,
    ),
    Question(
        "square", "l2", (mine("square", queries=ALL, p=0.1),), (peer("authors", "square", ALL, p_init=0.1),), fixed=True,
    ),
    Question("simba", "l2", (mine("simba", queries=ALL),), (peer("ART", "simba", ALL),), fixed=True),
    Question("simba_dct", "l2", (mine("simba", queries=ALL, basis="dct"),), (peer("ART", "simba_dct", ALL),), fixed=True),
    Question("boundary", "l2", (mine("boundary", queries=ALL),), (peer("Foolbox", "boundary", ALL), peer("ART", "boundary", ALL))),
    Question(
        "hopskipjump", "l2", (mine("hopskipjump", queries=ALL),),
        WALKS,
    ),
    Question(
        "hopskipjump", "linf", (mine("hopskipjump", queries=ALL),),
        WALKS,
    ),
    Question(
        "rays", "linf", (mine("rays", queries=ALL),),
        WALKS,
    ),
    Question(
        "labels", "l2", tuple(mine(name, queries=ALL) for name in ("circling", "cgba", "surfree", "geoda", "signopt")),
        WALKS, half=True,
    ),
)  # fmt: skip
