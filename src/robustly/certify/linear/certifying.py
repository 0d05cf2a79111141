"""What all certifiers by linear bounds share: the model's network, margins as specs, stages from cheap to dear.

Each stage bounds only the differences of scores that no stage before it has shown to be above zero, of rows that still have
such differences; for a target, of rows of which no difference is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TypeAlias

import torch
from torch import Tensor

from robustly.certify.answers import collected, judged
from robustly.certify.linear.bounds import Specs
from robustly.certify.linear.crown import ROOM
from robustly.certify.linear.lowering.lower import lower
from robustly.certify.linear.program import Program
from robustly.certify.linear.region import Region
from robustly.certify.networks import NoNetwork, network
from robustly.certify.types import Bound, Certifier, Price, UnsupportedOperator, abstain
from robustly.goals import Goal
from robustly.oracle.model import Model
from robustly.threats.base import PerturbationSet

Stage: TypeAlias = Callable[[Program, Region, Specs], Tensor]
"""Lower bounds (B, S) on specs over a region, float64, -inf where unknown."""


def certifier(
    name: str,
    stages: Sequence[Stage],
    least: Callable[[Program], str | None] = lambda program: None,
    operations: Callable[[Program, Region], Tensor] | None = None,
) -> Certifier:
    """A certifier of these stages, known as `name` in its answers. least: why a program is not for it, or None. operations:
    what it takes at most for each row of a region, roughly, (B,)."""

    def certify(model: Model, around: PerturbationSet, goal: Goal) -> Bound:
        if not len(goal):
            return abstain(goal, "")
        try:
            with torch.no_grad():
                region = Region.of(around)
                if region is None:
                    return abstain(goal, f"no bounds for edits or other discrete sets ({type(around).__name__})")
                program = lower(network(model), tuple(around.x.shape[1:]))
                refused = _unfit(program, goal) or least(program)
                if refused:
                    return abstain(goal, f"{name} bound: {refused}")
                parts = [_differences(program, region.take(i), goal.take(i), stages) for i in _rows(program, goal)]
        except NoNetwork as error:
            return abstain(goal, str(error))
        except UnsupportedOperator as error:
            return abstain(goal, f"{name} bound: {error}")
        bound = collected(torch.cat(parts), goal)
        return judged(name, bound, goal.margin(model.ask_all(around.x)).double())

    def price(model: Model, around: PerturbationSet) -> Price | None:
        assert operations is not None
        try:
            with torch.no_grad():
                region = Region.of(around)
                if region is None:
                    return None
                program = lower(network(model), tuple(around.x.shape[1:]))
                if least(program):
                    return None
                rows = torch.arange(len(region), device=region.low.device).split(_at_once(program))
                return Price(torch.cat([operations(program, region.take(i)) for i in rows]), program.products)
        except (NoNetwork, UnsupportedOperator):
            return None

    if operations is not None:
        certify.price = price  # type: ignore[attr-defined]
    return certify


def _unfit(program: Program, goal: Goal) -> str | None:
    """Why the scores are not (B, K) with K >= 2 classes that hold every label."""
    shape, label = program.nodes[-1].shape, goal.y if goal.target is None else goal.target
    if len(shape) != 1 or shape[0] < 2:
        return f"it answers in shape (B, {', '.join(map(str, shape))}) where (B, K) with K of 2 or more is needed"
    most = int(label.max())
    return None if most < shape[0] else f"it has {shape[0]} classes but a label is {most}"


def _rows(program: Program, goal: Goal) -> Sequence[Tensor]:
    """Rows that are done together: as many as keep tensors small."""
    return torch.arange(len(goal), device=goal.y.device).split(_at_once(program))


def _at_once(program: Program) -> int:
    return max(1, ROOM // max(prod(n.shape) for n in program.nodes))


def _differences(program: Program, region: Region, goal: Goal, stages: Sequence[Stage]) -> Tensor:
    """Lower bounds (B, K) on the differences of scores that make up the margin; the label's own is +inf (-inf for a target)."""
    classes = program.nodes[-1].shape[0]
    anchor, sign = (goal.y, 1.0) if goal.target is None else (goal.target, -1.0)
    known = region.low.new_full((len(goal), classes), -torch.inf)
    known = known.scatter(1, anchor[:, None], sign * torch.inf)
    eye = torch.eye(classes, dtype=torch.float64, device=known.device)
    for stage in stages:
        open_ = (known <= 0).scatter(1, anchor[:, None], False)
        if sign < 0:
            open_ = open_ & ~(known > 0).any(1, keepdim=True)
        rows = open_.any(1).nonzero().squeeze(1)
        if not len(rows):
            break
        most = int(open_[rows].sum(1).amax())
        order = open_[rows].to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
        real = open_[rows].gather(1, order)
        order = torch.where(real, order, order[:, :1])  # rows with fewer of them repeat their first
        weights = sign * (eye[anchor[rows]][:, None] - eye[order])
        found = stage(program, region.take(rows), Specs(weights, weights.new_zeros(order.shape)))
        better = torch.maximum(found, known[rows].gather(1, order))
        known = known.index_copy(0, rows, known[rows].scatter(1, order, better))
    return known
