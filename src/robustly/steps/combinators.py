"""Attacks made of attacks."""

from __future__ import annotations

from robustly.core.errors import UsageError
from robustly.core.keys import fold
from robustly.core.specs import spec
from robustly.steps.types import Attack, Case


@spec("attack", sets=("PerturbationSet",))
def in_turn(*attacks: Attack) -> Attack:
    """Each attack on what those before it left undecided."""

    def attack(case: Case) -> None:
        for index, inner in enumerate(attacks):
            inner(case._replace(key=fold(case.key, index)))

    return attack


@spec("attack", sets=("PerturbationSet",))
def restarts(inner: Attack, times: int = 5) -> Attack:
    """The same attack with fresh random keys.

    Raises:
        UsageError: times < 1.
    """
    if times < 1:
        raise UsageError(f"restarts must be at least 1, got {times}.")

    def attack(case: Case) -> None:
        for index in range(times):
            inner(case._replace(key=fold(case.key, index)))

    return attack


@spec("attack", sets=("PerturbationSet",))
def per_target(inner: Attack, targets: int = 9) -> Attack:
    """The attack towards each of the most likely wrong classes, most likely first; fewer where there are fewer classes."""

    def attack(case: Case) -> None:
        scores = case.oracle.clean_scores()
        order = scores.scatter(1, case.goal.y[:, None], float("-inf")).argsort(dim=1, descending=True, stable=True)
        for rank in range(min(targets, scores.shape[1] - 1)):
            inner(case._replace(goal=case.goal.toward(order[:, rank]), key=fold(case.key, rank)))

    if targets < 1:
        raise UsageError(f"targets must be at least 1, got {targets}.")
    return attack
