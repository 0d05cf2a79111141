"""Attacks made of attacks."""

from __future__ import annotations

import torch

from robustly.core.keys import fold
from robustly.core.specs import spec
from robustly.steps.counts import at_least_one
from robustly.steps.types import Attack, Case


@spec("attack", sets=("PerturbationSet",))
def in_turn(*attacks: Attack) -> Attack:
    """Each attack on what those before it left undecided."""

    def attack(case: Case) -> None:
        for index, inner in enumerate(attacks):
            inner(case._replace(key=fold(case.key, index)))

    return attack


@spec("attack", sets=("PerturbationSet",))
def restarts(inner: Attack, times: int = 5, abreast: int = 1) -> Attack:
    """The same attack with fresh random keys.

    Args:
        times: how often.
        abreast: how many of them run side by side, as one batch: far faster where few examples are left, and an example
            that one of them breaks has paid for the others too. Survivors cost the same, but for clean scores that an
            attack asks where they aren't known yet, which each copy pays; the draws are the same, but for those of
            `averaged` around it. Under a query budget they run one after the other, so that it holds.

    Raises:
        UsageError: times or abreast < 1.
    """
    at_least_one((times, "restarts"), (abreast, "abreast"))

    def attack(case: Case) -> None:
        beside = abreast if case.oracle.limits.queries is None else 1
        for first in range(0, times, beside):
            numbers = range(first, min(first + beside, times))
            rows = torch.arange(len(case.key), device=case.key.device).repeat_interleave(len(numbers))
            keys = torch.stack([fold(case.key, number) for number in numbers], 1).flatten(0, 1)
            inner(case.take(rows)._replace(key=keys) if len(numbers) > 1 else case._replace(key=keys))

    return attack


@spec("attack", sets=("PerturbationSet",))
def per_target(inner: Attack, targets: int = 9) -> Attack:
    """The attack towards each of the most likely wrong classes, most likely first; fewer where there are fewer classes.

    A goal that has a target keeps it.

    Raises:
        UsageError: targets < 1.
    """

    def attack(case: Case) -> None:
        if case.goal.target is not None:
            inner(case)
            return
        scores = case.oracle.clean_scores()
        order = scores.scatter(1, case.goal.y[:, None], float("-inf")).argsort(dim=1, descending=True, stable=True)
        for rank in range(min(targets, scores.shape[1] - 1)):
            inner(case._replace(goal=case.goal.toward(order[:, rank]), key=fold(case.key, rank)))

    at_least_one((targets, "targets"))
    return attack
