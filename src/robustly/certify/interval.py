"""Interval bound propagation: the cheapest certificate, tight only for networks that were trained for it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustly.certify.answers import collected, judged
from robustly.certify.applying import applied, plain, rules, walked
from robustly.certify.enclosures import affine, pointwise, pooling, shape
from robustly.certify.enclosures.entry import enter
from robustly.certify.enclosures.value import Interval
from robustly.certify.networks import NoNetwork, network
from robustly.certify.trace import Operation, trace
from robustly.certify.types import Bound, Certifier, UnsupportedOperator, abstain
from robustly.core.specs import spec
from robustly.goals import Goal
from robustly.oracle.model import Model
from robustly.threats.base import PerturbationSet

RULES: dict[str, Callable[..., Any]] = {
    **rules(affine, "linear conv2d"),
    **rules(pointwise, "add sub mul div neg batch_norm relu relu6 hardtanh clamp leaky_relu sigmoid tanh gelu silu"),
    **rules(pooling, "max_pool2d avg_pool2d adaptive_avg_pool2d mean sum"),
    **rules(shape, "flatten reshape permute transpose squeeze unsqueeze pad cat dropout getitem size"),
    "view": shape.reshape,
    "contiguous": shape.same,
    "identity": shape.same,
    "getattr": shape.attribute,
    "dim": lambda x: len(x.shape),
    "matmul": lambda x, w: affine.linear(x, _matrix(w).t()),
    "floordiv": plain(operator.floordiv, Interval),
    "expand": plain(Tensor.expand, Interval),
    "t": plain(torch.t, Interval),
}
"""One rule an operation, called with the arguments of torch's own function."""


@spec("certifier", paper="Gowal et al. 2018, arXiv:1810.12715")
def interval() -> Certifier:
    """Interval bounds through the network, rounding included; the last linear layer is merged with the margin.

    The network behind the model (`Model.module`) is walked once for centres and once for radii, in arithmetic of our
    own that costs about two forward passes and counts as none; the model itself is asked for the clean scores, which
    counts as one: a bound above the margin that it answers shows that it is not this network, and nothing is then
    certified. A first linear or convolution
    layer (after normalisation too) is bounded by the dual norm of an l2, l1 or l0 ball as well as by its box.

    Holds for convolutions and products summed in any order. TF32 and bfloat16 settings widen it. Where convolutions may
    run by Winograd or Fourier transforms (not on a CPU with oneDNN) their rounding is taken relative to the whole
    image, times 32, which is an allowance rather than a proof.
    """

    def certify(model: Model, around: PerturbationSet, goal: Goal) -> Bound:
        if not len(goal):
            return abstain(goal, "")
        try:
            operations = trace(network(model))
            with torch.no_grad():
                value = enter(around)
                if value is None:
                    return abstain(goal, f"no bounds for edits or other discrete sets ({type(around).__name__})")
                lower = _lower(operations, value, goal, model.parts(around.x, len(goal)))
        except NoNetwork as error:
            return abstain(goal, str(error))
        except UnsupportedOperator as error:
            return abstain(goal, f"interval bound: {error}")
        return judged("interval", lower, goal.margin(model.ask_all(around.x)).double())

    return certify


@dataclass(frozen=True)
class _Merged:
    """What the last linear layer gives when it is merged with the margin: lower bounds (B, K) on differences."""

    lower: Tensor


def _lower(operations: tuple[Operation, ...], value: Interval, goal: Goal, split: list[slice]) -> Tensor:
    """Lower bounds on the goal's margin (B,), some rows at a time."""
    rows = [torch.arange(part.start, part.stop, device=goal.y.device) for part in split]
    parts = [collected(_margins(operations, value.take(i), goal.take(i)), goal) for i in rows]
    return torch.cat(parts)


def _margins(operations: tuple[Operation, ...], value: Interval, goal: Goal) -> Tensor:
    """Lower bounds (B, K) on the differences that make up the goal's margin; NaN where unknown.

    Raises:
        UnsupportedOperator: no rule for an operation, or none for its arguments.
    """
    result = operations[-1].args[0]

    def step(operation: Operation, args: Any, kwargs: Any) -> Any:
        if operation.node is result and operation.name == "linear" and isinstance(args[0], Interval):
            weight, bias = _weight(*args[1:], **kwargs)
            _check((*args[0].shape[:-1], len(weight)), goal, operation)
            return _Merged(affine.margins(args[0], weight, bias, goal))
        return applied(operation, args, kwargs, Interval, RULES)

    out = walked(operations, value, step)
    if isinstance(out, _Merged):
        return out.lower
    if not isinstance(out, Interval):
        raise UnsupportedOperator("output", "output", "the network does not answer with one tensor made from its input")
    _check(out.shape, goal, operations[-1])
    return _differences(out, goal)


def _differences(out: Interval, goal: Goal) -> Tensor:
    """The same where the last layer is not linear: scores bounded one by one."""
    anchor, sign = (goal.y, 1) if goal.target is None else (goal.target, -1)
    low, high = (t.gather(1, anchor[:, None]) for t in (out.lower, out.upper))
    gap = low - out.upper if sign > 0 else out.lower - high
    known = torch.isfinite(out.lower).all(1, keepdim=True)
    return torch.where(known, gap.scatter(1, anchor[:, None], sign * torch.inf), torch.nan)


def _check(shape: tuple[int, ...], goal: Goal, operation: Operation) -> None:
    """Refuse scores that are not (B, K) with K >= 2 classes that hold every label."""
    label = goal.y if goal.target is None else goal.target
    if len(shape) != 2 or shape[1] < 2 or shape[1] <= int(label.max()):
        reason = f"it answers in shape (B, {', '.join(map(str, shape[1:]))}) where (B, K) with K of 2 or more is needed"
        if len(shape) == 2 and shape[1] >= 2:
            reason = f"it has {shape[1]} classes but a label is {int(label.max())}"
        raise UnsupportedOperator(operation.name, operation.where, reason)


def _weight(weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    return weight, bias


def _matrix(w: Any) -> Tensor:
    if not isinstance(w, Tensor) or w.dim() != 2:
        raise pointwise.Refused("only a product with a constant matrix on the right")
    return w
