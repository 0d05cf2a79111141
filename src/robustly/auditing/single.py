"""One attack on one batch, judged: what `robustly.attack` does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from robustly.adapters.border import in_range
from robustly.adapters.data import load_data
from robustly.adapters.models import load_model
from robustly.auditing.judge import judge
from robustly.auditing.problem import Problem
from robustly.core.errors import UsageError
from robustly.core.rows import Batch, device_of, put, take
from robustly.core.specs import Spec, build
from robustly.goals import Goal
from robustly.oracle import Limits, Oracle
from robustly.steps import Attack, Case
from robustly.threats import Threat, as_threat, eps_of


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

    def __repr__(self) -> str:
        near = f", median distance {self.distance[self.success].median():.4g}" if self.success.any() else ""
        cost = f"{int(self.forward.sum())} F + {int(self.backward.sum())} B"
        return f"<Result: {int(self.success.sum())} of {len(self.success)} broken{near}, {cost}>"


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
    example, at least 2, of which one is the judge's. closest: go on after the first success, for the nearest point; by
    default when eps is infinite. A random model is judged by one fresh answer here; `audit` has the judge vote.

    Raises:
        UsageError: a target equal to the true label, or anything `audit` would refuse.
        AccessError: the attack needs more access than is granted.
    """
    if queries is not None and queries < 2:
        raise UsageError(f"a query budget is at least 2, one for the attack and one for the judge; got {queries}.")
    threat = as_threat(threat)
    data = load_data((x, y), range=range)
    loaded = in_range(load_model(model, range=range, access=access), data)
    inputs = data.x.to(loaded.device) if isinstance(data.x, Tensor) else data.x
    labels = data.y.to(device_of(inputs))
    goal = Goal(labels, _targets(target, labels))
    around = threat.at(inputs, loaded.domain)
    problem = Problem(loaded, loaded, inputs, labels, data.ids, threat, seed)
    everyone = torch.arange(len(labels), device=labels.device)
    press_on = eps_of(threat) == float("inf") if closest is None else closest
    oracle = Oracle(loaded, around, goal, limits=Limits(queries and queries - 1), press_on=press_on)
    _as_attack(attack)(Case(around, goal, problem.keys(everyone, str(getattr(attack, "spec", "attack"))), oracle))
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


def _as_attack(given: Any) -> Attack:
    """An attack from what was given: itself, or made by name.

    Raises:
        UsageError: a factory that was not called, or something else altogether.
    """
    if isinstance(given, str):
        return build("attack", given, {})
    if callable(given) and not isinstance(getattr(given, "spec", None), Spec) and hasattr(given, "__wrapped__"):
        raise UsageError(f"{given.__name__} makes an attack: write {given.__name__}().")
    if not callable(given):
        raise UsageError(f"an attack is a function of a case, such as pgd(), or a name; got {given!r}.")
    return cast(Attack, given)


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
