"""What a certifier is, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from robustly.core.errors import RobustlyError
from robustly.goals import Goal
from robustly.oracle.model import Model
from robustly.threats.base import PerturbationSet


class Bound(NamedTuple):
    """What is proven of each of B examples.

    lower: float64 (B,), at most the goal's margin anywhere in the set, for the model as it runs in float32; -inf where
        nothing is known. An example is certified where lower > 0, since a tie counts against the model.
    why: one a row, a sentence that says why it is not certified; None where it is.
    forward: forward passes through the model a row; arithmetic on its weights counts as none, and shows in seconds.
    spent: int64 (B,), those of each row where they differ; then `forward` is the most.
    """

    lower: Tensor
    why: tuple[str | None, ...]
    forward: int
    spent: Tensor | None = None

    @property
    def certified(self) -> Tensor:
        """Bool (B,)."""
        return self.lower > 0


Certifier: TypeAlias = Callable[[Model, PerturbationSet, Goal], Bound]


class Price(NamedTuple):
    """What proofs will take, told before they are tried.

    operations: float64 (B,), at most about so many of a bound for each row. a_pass: those of one example through the network.
    """

    operations: Tensor
    a_pass: float


Pricer: TypeAlias = Callable[[Model, PerturbationSet], Price | None]
"""None where the network can't be bounded, which the certifier itself says for nothing."""


def pricer(certifier: Certifier) -> Pricer | None:
    """What tells the price of a certifier's proofs, if something does: a function that it carries as `price`."""
    return getattr(certifier, "price", None)


class UnsupportedOperator(RobustlyError):  # noqa: N818 - the errors of this house are named for what is wrong
    """A network has an operator that has no sound bound here."""

    def __init__(self, operator: str, node: str, reason: str = "") -> None:
        super().__init__(f"unsupported operator {operator} at node {node}" + (f": {reason}" if reason else ""))
        self.operator, self.node, self.reason = operator, node, reason


class TooMuch(RobustlyError):  # noqa: N818
    """A bound would take more operations than are worth a try."""

    def __init__(self, what: str, operations: float, most: float) -> None:
        super().__init__(f"{what} of this network would take about {operations:.0e} operations, more than {most:.0e}")


def abstain(goal: Goal, reason: str) -> Bound:
    """Nothing is known of any row, for one reason and at no cost."""
    nothing = torch.full((len(goal),), -torch.inf, dtype=torch.float64, device=goal.y.device)
    return Bound(nothing, (reason,) * len(goal), 0)
