"""The two kinds of step, and what an attack is.

A *transform* reshapes an update (momentum, sign, scale). A *step* moves a point, and says which point to ask next. Both are
pairs of pure functions, as in optax; their states are tuples of tensors with one row an example.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from robustly.core.rows import Batch
from robustly.goals import Goal
from robustly.oracle import Answer, Oracle
from robustly.threats.base import PerturbationSet


class Case(NamedTuple):
    """What an attack is given: the set, the goal to climb, a random key (B, 2), and the oracle."""

    around: PerturbationSet
    goal: Goal
    key: Tensor
    oracle: Oracle

    def take(self, index: Tensor) -> Case:
        """The case of some rows; evidence still lands in the same ledger."""
        return Case(self.around.take(index), self.goal.take(index), self.key[index], self.oracle.take(index))


Attack: TypeAlias = Callable[[Case], None]
Start: TypeAlias = Callable[[Case], Batch]


class Transform(NamedTuple):
    """init(case, z) -> state; update(case, state, update) -> (update, state)."""

    init: Callable[[Case, Tensor], Any]
    update: Callable[[Case, Any, Tensor], tuple[Tensor, Any]]


class Step(NamedTuple):
    """init(case, z) -> state; point(case, state) -> where to ask; update(case, state, answer, index) -> state.

    last(state) is the point the walk ended at, which is asked too.
    """

    init: Callable[[Case, Tensor], Any]
    point: Callable[[Case, Any], Tensor]
    update: Callable[[Case, Any, Answer, int], Any]
    last: Callable[[Any], Tensor]
