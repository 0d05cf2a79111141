"""Interval bound propagation: the cheapest certificate, tight only for networks that were trained for it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.fx.node import Node, map_arg

from robustly.certify.answers import collected, judged
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


def _rules(room: ModuleType, names: str) -> dict[str, Callable[..., Any]]:
    return {name: getattr(room, name) for name in names.split()}


RULES: dict[str, Callable[..., Any]] = {
    **_rules(affine, "linear conv2d"),
    **_rules(pointwise, "add sub mul div neg batch_norm relu relu6 hardtanh clamp leaky_relu sigmoid tanh gelu silu"),
    **_rules(pooling, "max_pool2d avg_pool2d adaptive_avg_pool2d mean sum"),
    **_rules(shape, "flatten reshape permute transpose squeeze unsqueeze pad cat dropout getitem size"),
    "view": shape.reshape,
    "contiguous": shape.same,
    "identity": shape.same,
    "getattr": shape.attribute,
    "dim": lambda x: len(x.shape),
    "matmul": lambda x, w: affine.linear(x, _matrix(w).t()),
    "floordiv": shape.plain(operator.floordiv),
    "expand": shape.plain(Tensor.expand),
    "t": shape.plain(torch.t),
}
"""One rule an operation, called with the arguments of torch's own function."""

_PLAIN = {"getattr", "getitem", "size", "dim", "floordiv", "expand", "t"}
"""Rules that are right for constants and sizes too."""

_ON_TENSORS: dict[str, Callable[..., Any]] = {
    **_rules(torch, "add sub mul div neg reshape flatten permute squeeze unsqueeze transpose"),  # type: ignore[arg-type]
    "view": Tensor.view,
    "contiguous": Tensor.contiguous,
}
"""Operations on constants alone, computed as the model computes them. Anything else on constants is refused."""

_ON_NUMBERS = {**_rules(operator, "add sub mul neg"), "div": operator.truediv}
"""Operations on sizes."""


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
    values: dict[Node, Any] = {}
    result = operations[-1].args[0]
    for operation in operations:
        if operation.name == "input":
            values[operation.node] = value
        elif operation.name == "constant":
            values[operation.node] = operation.args[0]
        elif operation.name == "output":
            break
        else:
            args = map_arg(operation.args, values.__getitem__)
            kwargs = map_arg(operation.kwargs, values.__getitem__)
            if operation.node is result and operation.name == "linear" and isinstance(args[0], Interval):
                weight, bias = _weight(*args[1:], **kwargs)
                _check((*args[0].shape[:-1], len(weight)), goal, operation)
                return affine.margins(args[0], weight, bias, goal)
            values[operation.node] = applied(operation, args, kwargs)
    out = values.get(result) if isinstance(result, Node) else None
    if not isinstance(out, Interval):
        raise UnsupportedOperator("output", "output", "the network does not answer with one tensor made from its input")
    _check(out.shape, goal, operations[-1])
    return _differences(out, goal)


def applied(operation: Operation, args: Any, kwargs: Any) -> Any:
    """The rule of an operation, or on constants alone what the model computes."""
    name = operation.name
    varies = any(isinstance(a, Interval) for a in _leaves((args, kwargs)))
    if varies or name in _PLAIN:
        rule = RULES.get(name)
    elif any(isinstance(a, Tensor) for a in _leaves((args, kwargs))):
        rule = _ON_TENSORS.get(name)
    else:
        rule = _ON_NUMBERS.get(name)
    if rule is None:
        raise UnsupportedOperator(name, operation.where)
    try:
        return rule(*args, **kwargs)
    except pointwise.Refused as error:
        raise UnsupportedOperator(name, operation.where, str(error)) from None
    except (TypeError, RuntimeError, IndexError, AttributeError) as error:
        raise UnsupportedOperator(name, operation.where, f"its arguments ({str(error).splitlines()[0]})") from error


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


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return _leaves(list(value.values()))
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]
