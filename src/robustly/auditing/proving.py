"""Which examples a stage of proofs tries: as many as its share of the attacks' work pays for, by prices told beforehand.

Work is counted in arithmetic and not in seconds, so that the choice is the same on every machine and in a run that was resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from robustly.auditing.findings import Finding
from robustly.auditing.plan import PlanStage
from robustly.auditing.problem import Problem
from robustly.auditing.stages import Outcome
from robustly.certify.types import pricer

EXCHANGE = 3.0
"""Products in a pass through the model that take the time of one operation of a bound, which is in float64."""

Passes: TypeAlias = Callable[[int, Tensor, dict[int, list[int]]], Outcome]
"""The work of a stage, given its number, examples and their accounts."""


class Allotted(NamedTuple):
    """tried: examples, likeliest first. left: the others, each with a sentence why."""

    tried: list[int]
    left: dict[int, str]


def allot(problem: Problem, stage: PlanStage, order: Sequence[int], eps: float, passes: int) -> Allotted:
    """Go through examples in order and take each whose proof the rest of the share still pays for.

    passes: of the attacks at this size, forward and backward.
    """
    price = pricer(stage.make)
    assert price is not None
    assert stage.share is not None
    if not order:
        return Allotted([], {})
    index = torch.tensor(list(order), device=problem.y.device)
    found = price(problem.model, problem.around(index, eps))
    if found is None:  # the certifier will say why, for nothing
        return Allotted(list(order), {})
    room = stage.share * passes * found.a_pass / EXCHANGE
    tried: list[int] = []
    left: dict[int, str] = {}
    for example, cost in zip(order, found.operations.tolist(), strict=True):
        if cost <= room:
            tried.append(example)
            room -= cost
        else:
            left[example] = (
                f"{stage.spec.name} was not tried: a proof takes about {cost:.2g} operations, {room:.2g} are left of what the "
                f"attacks' work allows (share={stage.share:g})"
            )
    return Allotted(tried, left)


def leaving(
    work: Passes,
    position: int,
    stage: PlanStage,
    eps: float,
    left: Mapping[int, str],
    index: Tensor,
    spent: dict[int, list[int]],
) -> Outcome:
    """The work on examples that are tried, and a finding with the reason for each that is left."""
    tried = [i for i in index.tolist() if i not in left]
    outcome = work(position, torch.tensor(tried, device=index.device), spent) if tried else Outcome([])
    reasons = [
        Finding(eps=eps, stage=position, index=i, outcome="open", by=str(stage.spec), why=left[i])
        for i in index.tolist()
        if i in left
    ]
    return outcome._replace(findings=[*outcome.findings, *reasons], untried=len(reasons))
