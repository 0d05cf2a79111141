"""One attack on one batch, judged: what `robustly.attack` does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustly.adapters.data import load_data
from robustly.adapters.models import load_model
from robustly.auditing.judge import judge
from robustly.auditing.problem import Problem
from robustly.core.errors import UsageError
from robustly.core.rows import Batch, put, take
from robustly.goals import Goal
from robustly.oracle import Limits, Oracle
from robustly.steps import Attack, Case
from robustly.threats import Threat, eps_of, parse_threat


@dataclass(frozen=True)
class Result:
    """What an attack achieved, one row an example.

    x: (B, ...), the counterexample where `success`, else the input as it was. success: bool (B,), confirmed by the judge on
    the model itself. distance: float64 (B,), in the threat's measure, infinite without success. margin: float64 (B,), lowest
    margin of any member asked. forward, backward: int64 (B,), passes spent on each example, the judge's included.
    """

    x: Batch
    success: Tensor
    distance: Tensor
    margin: Tensor
    forward: Tensor
    backward: Tensor


def attack(
    attack: Attack,
    model: Any,
    x: Any,
    y: Any,
    threat: Threat | str,
    *,
    target: int | Tensor | None = None,
    seed: int = 0,
    queries: int | None = None,
    closest: bool | None = None,
    range: tuple[float, float] | None = None,
    access: str | None = None,
) -> Result:
    """Attack B examples: attack(pgd(steps=20), model, x, y, Linf(8 / 255)).

    target: the label to reach, one for all or one a row; None for any wrong label. queries: hard limit of forward passes an
    example. closest: go on after the first success, for the nearest point; by default when eps is infinite.

    Raises:
        UsageError: a target equal to the true label, or anything `audit` would refuse.
        AccessError: the attack needs more access than is granted.
    """
    threat = parse_threat(threat) if isinstance(threat, str) else threat
    data = load_data((x, y), range=range)
    loaded = load_model(
        model, range=range or ((data.domain.low, data.domain.high) if data.kind != "text" else None), access=access
    )
    inputs = data.x.to(loaded.device) if isinstance(data.x, Tensor) else data.x
    labels = data.y.to(loaded.device)
    goal = Goal(labels, _targets(target, labels))
    around = threat.at(inputs, loaded.domain)
    problem = Problem(loaded, loaded, inputs, labels, data.ids, threat, seed)
    everyone = torch.arange(len(labels), device=labels.device)
    press_on = eps_of(threat) == float("inf") if closest is None else closest
    oracle = Oracle(loaded, around, goal, limits=Limits(queries), press_on=press_on)
    attack(Case(around, goal, problem.keys(everyone, str(getattr(attack, "spec", "attack"))), oracle))
    ledger = oracle.ledger
    hits = ledger.hit.nonzero().squeeze(1)
    success = torch.zeros_like(ledger.hit)
    points = inputs
    if len(hits):
        judged = judge(loaded, around.take(hits), goal.take(hits), take(ledger.point, hits))
        ledger.pay(hits, forward=judged.passes)
        good = hits[judged.holds]
        success[good] = True
        points = put(inputs, good, take(ledger.point, good))
    distance = torch.where(success, ledger.distance, float("inf"))
    return Result(points, success, distance, ledger.best_margin, ledger.forward, ledger.backward)


def _targets(target: int | Tensor | None, labels: Tensor) -> Tensor | None:
    if target is None:
        return None
    wanted = torch.as_tensor(target, dtype=torch.int64, device=labels.device).expand(len(labels)).contiguous()
    same = (wanted == labels).nonzero().flatten()
    if len(same):
        raise UsageError(
            f"the target of example {int(same[0])} is its true label {int(labels[same[0]])} ({len(same)} such): leave those "
            "examples out, or choose another target."
        )
    return wanted
