"""What a plan would cost at most, found without the user's model: each stage runs on a stand-in that never errs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import torch
from torch import Tensor

from robustly.auditing.plan import Plan, PlanStage, fitting
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.rows import Batch
from robustly.core.specs import Spec, lookup
from robustly.goals import Goal
from robustly.oracle import Access, Limits, Model, Oracle
from robustly.steps import Case
from robustly.threats import Domain, Threat, parse_threat

MOST = 50_000
"""Forward passes after which the stand-in is asked no more; a costlier stage is only known to cost more."""
SHAPE = (3, 8, 8)
"""Of the stand-in's inputs where those of the user are not known: passes don't depend on it."""
LARGEST = 4096
"""Numbers in one input of the stand-in at most, so that no estimate takes long."""
TEXT = "the quick brown fox jumps over the lazy dog"
SURE = 10.0
"""The score of the true class; the others' lie between -1 and 1."""
TIMED = 64
"""Random inputs that a model is timed on at once."""
REPEATS, PATIENCE = 8, 1.0
"""Timings, and the seconds after which no further one is made."""


@dataclass(frozen=True)
class StageCost:
    """Passes an example costs in a stage if nothing decides it. needs: least access. capped: it costs even more."""

    spec: Spec
    kind: Literal["attack", "certify"]
    forward: int
    backward: int
    needs: int = Access.GRADIENTS
    probe: int | None = None
    capped: bool = False

    @property
    def passes(self) -> int:
        """Forward and backward together."""
        return self.forward + self.backward


@dataclass(frozen=True)
class Speed:
    """Seconds that one example takes in a forward and in a backward pass."""

    forward: float
    backward: float


def estimate(
    stages: Sequence[PlanStage], threat: Threat, like: Batch, classes: int, domain: Domain, access: Access
) -> tuple[StageCost, ...]:
    """The cost of each stage, counted by the oracle while it runs on one example of the stand-in.

    like: inputs whose kind and shape the stand-in takes over; their content is not used. classes: K.

    Raises:
        UsageError: a stage that cannot run in the threat's sets.
    """
    return tuple(_cost(stage, threat, _placeholder(like, domain), classes, domain, access) for stage in stages)


def outline(plan: Plan, threat: str) -> tuple[StageCost, ...]:
    """The cost of the plan's stages before anything is loaded, for ten classes; of those that can run at all."""
    under = parse_threat(threat)
    like: Batch = (TEXT,) if str(under).startswith("edits") else torch.zeros(1, *SHAPE)
    domain = Domain() if isinstance(like, tuple) else Domain(0.0, 1.0)
    try:
        x = _placeholder(like, domain)
        model = _stand_in(x, 10, domain, Access.GRADIENTS)
        stages, _ = fitting(plan, model, under.at(x, domain), random=False)
        return estimate(stages, under, x, 10, domain, Access.GRADIENTS)
    except UsageError:
        return ()  # whatever is wrong is said by the audit itself


def speed(model: Model, shape: Sequence[int], seed: int = 0) -> Speed | None:
    """A few forward and backward passes of random inputs in the model's range, timed; None if it is not local.

    shape: of one input. The first pass only warms up; of the others the median counts, since other processes disturb.
    """
    if model.module is None or model.access < Access.GRADIENTS:
        return None
    rows = min(TIMED, model.chunk or TIMED)
    key = keys.from_ids(seed, [f"timing {i}" for i in range(rows)], model.device)
    z = _random(key, shape, model.domain).requires_grad_()
    times: list[Speed] = []
    begun = _now(model)
    while len(times) <= REPEATS and (len(times) < 2 or _now(model) - begun < PATIENCE):
        start = _now(model)
        scores = model.answer(z)
        between = _now(model)
        torch.autograd.grad(scores.sum(), z)
        times.append(Speed((between - start) / rows, (_now(model) - between) / rows))
    return Speed(median(t.forward for t in times[1:]), median(t.backward for t in times[1:]))


def _cost(stage: PlanStage, threat: Threat, x: Batch, classes: int, domain: Domain, access: Access) -> StageCost:
    model = _stand_in(x, classes, domain, access)
    around, goal = threat.at(x, domain), Goal(torch.zeros(1, dtype=torch.int64))
    if stage.kind == "certify":
        spent = stage.make(model, around, goal).forward
        return StageCost(stage.spec, stage.kind, spent, 0)
    clean = model.ask(x) if access > Access.LABELS else None
    oracle = Oracle(model, around, goal, clean=clean, limits=Limits(MOST))
    stage.make(Case(around, goal, keys.from_ids(0, ["stand-in"]), oracle))
    forward, backward = int(oracle.ledger.forward), int(oracle.ledger.backward)
    needs = max(Access[lookup("attack", leaf.name).needs.upper()] for leaf in stage.spec.leaves())
    return StageCost(stage.spec, stage.kind, forward, backward, needs, stage.probe, forward >= MOST)


def _stand_in(x: Batch, classes: int, domain: Domain, access: Access) -> Model:
    """A model that always answers class 0, with gradients that are not zero."""
    other = torch.arange(1, classes) / classes
    sure = torch.full((1,), SURE)

    def call(z: Batch) -> Tensor:
        if access == Access.LABELS:
            return torch.zeros(len(z), dtype=torch.int64)
        height = z.flatten(1).mean(1) if isinstance(z, Tensor) else torch.tensor([len(t) / 100 for t in z])
        return torch.cat((sure.expand(len(z), 1), height.tanh()[:, None] * other), 1)

    module = None
    if isinstance(x, Tensor):
        linear = torch.nn.Linear(x[0].numel(), classes)
        with torch.no_grad():
            linear.weight.zero_()
            linear.bias.copy_(torch.cat((sure, torch.zeros(classes - 1))))
        module = torch.nn.Sequential(torch.nn.Flatten(), linear).requires_grad_(False).eval()
    else:
        access = min(access, Access.SCORES)
    return Model(call, domain, access, classes, name="stand-in", module=module)


def _placeholder(like: Batch, domain: Domain) -> Batch:
    """One input of that kind and shape (smaller where it is large), in the middle of the domain."""
    if not isinstance(like, Tensor):
        return (TEXT,)
    shape = list(like.shape[1:])
    while torch.Size(shape).numel() > LARGEST:
        shape[shape.index(max(shape))] //= 2
    low, high = max(domain.low, -1.0), min(domain.high, 1.0)
    middle = (domain.low + domain.high) / 2
    return torch.full(
        (1, *shape), middle if abs(middle) < float("inf") else (low if low > -1 else high if high < 1 else 0.0)
    )


def _random(key: Tensor, shape: Sequence[int], domain: Domain) -> Tensor:
    if domain.low == float("-inf") or domain.high == float("inf"):
        return keys.normal(key, shape).clamp(domain.low, domain.high)
    return domain.low + (domain.high - domain.low) * keys.uniform(key, shape)


def _now(model: Model) -> float:
    """The time once the device is done."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()
