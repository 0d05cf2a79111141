"""A certified l2 radius from how much each layer can lengthen a difference."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robustly.certify.applying import walked
from robustly.certify.enclosures.affine import direct, product_error
from robustly.certify.enclosures.value import LARGE, TINY, UNIT, gamma
from robustly.certify.networks import NoNetwork, network
from robustly.certify.reach import reach
from robustly.certify.trace import Operation, trace
from robustly.certify.types import Bound, Certifier, UnsupportedOperator, abstain
from robustly.core.specs import spec
from robustly.goals import Goal
from robustly.oracle.model import Model
from robustly.steps.norms import largest_gain
from robustly.threats.base import PerturbationSet

SAME = ("identity", "dropout", "contiguous", "flatten", "reshape", "view")
"""Operations that leave every row its numbers."""
AGREES = 1e-3
"""How far, relative to the largest score, the network may answer from the model before it is taken for another."""


class Value(NamedTuple):
    """A value within the network, over the whole set around each of B inputs, in the l2 norm.

    gain: a difference of inputs becomes at most so many times as long. size: float64 (B,), at most the length of what is
    computed. error: float64 (B,), at most how far that is from exact arithmetic. like: zeros of its shape (1, ...).
    """

    gain: float
    size: Tensor
    error: Tensor
    like: Tensor


@spec("certifier", paper="Tsuzuku et al. 2018, arXiv:1802.04034")
def lipschitz() -> Certifier:
    """Margin over Lipschitz constant, in l2, rounding included: for networks that were built to have a small one.

    The largest gain of every layer is bounded from above, and that of the last by class: the margin of y over k falls by at most
    G |w_y - w_k| r, where G is the product of the gains below. Understands linear layers, convolutions, ReLU, leaky ReLU, pooling
    without overlap, sums of branches, and constants added or multiplied. Other sets are enclosed by an l2 ball.

    The forward error of float32 is bounded along the way by norms (Higham 2002, section 3.1) and taken off twice: at the
    input, whose margin is asked, and at the member.
    """

    def certify(model: Model, around: PerturbationSet, goal: Goal) -> Bound:
        far = reach(around, "l2")
        if far is None or not len(goal):
            return abstain(goal, "there is no l2 ball around the inputs")
        try:
            module = network(model)
            with torch.no_grad():
                scores = model.ask_all(around.x)
                here = torch.cat([module(around.x[part]) for part in model.parts(around.x, len(goal))])
                drop, error = _drops(trace(module), around.x, far, goal, scores)
        except NoNetwork as nothing:
            return abstain(goal, str(nothing))
        except UnsupportedOperator as unsupported:
            return abstain(goal, f"lipschitz bound: {unsupported}")
        if here.shape != scores.shape or not ((here - scores).abs().amax(1) <= AGREES * scores.abs().amax(1)).all():
            return abstain(goal, "the network behind the model does not answer as the model does")
        wide = scores.double()
        anchor = goal.y if goal.target is None else goal.target
        gap = wide.gather(1, anchor[:, None]) - wide
        gap = (gap if goal.target is None else -gap) - drop - 2 * error
        gap = gap.scatter(1, anchor[:, None], math.inf if goal.target is None else -math.inf)
        lower = gap.amin(1) if goal.target is None else gap.amax(1)
        lower = torch.where(torch.isnan(lower), -torch.inf, lower - 1e-6 * lower.abs())
        why = tuple(None if v > 0 else f"lipschitz bound {v:.4g} is not above 0" for v in lower.tolist())
        return Bound(lower, why, 2)

    return certify


class Drops(NamedTuple):
    """How much the difference of each score to that of the goal's class can fall over the set, and be off: float64 (B, K)."""

    fall: Tensor
    error: Tensor


def _drops(operations: tuple[Operation, ...], x: Tensor, far: Tensor, goal: Goal, scores: Tensor) -> Drops:
    """The drops of a network around inputs x, whose scores are known; far: the radii (B,)."""
    size = x.double().flatten(1).norm(dim=1) + far
    start = Value(1.0, size, torch.zeros_like(size), torch.zeros_like(x[:1]))
    result, anchor = operations[-1].args[0], goal.y if goal.target is None else goal.target

    def step(operation: Operation, args: Any, kwargs: Any) -> Any:
        if operation.node is result and operation.name == "linear" and args[0].like.dim() == 2:
            return _last(args[0], *args[1:], **kwargs, anchor=anchor, far=far)
        return _applied(operation, args, kwargs)

    out = walked(operations, start, step)
    if isinstance(out, Drops):
        return out
    if not isinstance(out, Value) or out.like.shape[1:] != scores.shape[1:]:
        raise UnsupportedOperator("output", "output", "the network does not answer with scores made from its input")
    both = math.sqrt(2) * torch.ones_like(scores, dtype=torch.float64)
    return Drops(both * (out.gain * far)[:, None], both * out.error[:, None])


def _last(x: Value, weight: Tensor, bias: Tensor | None = None, *, anchor: Tensor, far: Tensor) -> Drops:
    """The same for a last linear layer, class by class."""
    w = weight.double()
    apart = torch.cdist(w[anchor], w, compute_mode="donot_use_mm_for_euclid_dist") * (1 + 1e-9)
    lengths = w.norm(dim=1)
    constants = torch.zeros_like(lengths) if bias is None else bias.double().abs()
    rounding = _rounding(w.shape[1], w.device, conv=False)
    each = rounding * (lengths[None] * x.size[:, None] + constants) + TINY * w.shape[1]
    off = apart * x.error[:, None] + each + each.gather(1, anchor[:, None])
    return Drops(apart * (x.gain * far)[:, None], off)


def _applied(operation: Operation, args: Any, kwargs: Any) -> Any:
    """The value of an operation, or a size."""
    name, x = operation.name, args[0] if args else None
    if name == "size" and isinstance(x, Value):
        return x.like.size(*args[1:])
    if name == "getitem" and isinstance(x, torch.Size):
        return x[args[1]]
    if name == "getattr" and isinstance(x, Value) and args[1] == "shape":
        return x.like.shape
    if name in ("add", "sub") and len(args) == 2 and not kwargs:
        return _sum(args[0], args[1], operation)
    if name in ("mul", "div") and len(args) == 2 and isinstance(x, Value) and not isinstance(args[1], Value):
        return _scaled(x, args[1], name)
    if not isinstance(x, Value):
        raise UnsupportedOperator(name, operation.where, "only values made from the input")
    if name == "linear" and x.like.dim() == 2:
        return _linear(x, *args[1:], **kwargs)
    if name == "conv2d":
        return _conv(x, operation, *args[1:], **kwargs)
    if name == "relu":
        return x
    if name == "leaky_relu" and abs(kwargs.get("negative_slope", 0.01)) <= 1:
        return x._replace(error=x.error + UNIT * x.size)
    if name in SAME and not kwargs.get("training", False):
        return x._replace(like=_run(name, x.like, args[1:], kwargs))
    if name in ("max_pool2d", "avg_pool2d"):
        return _pooled(x, operation, args[1:], kwargs)
    raise UnsupportedOperator(name, operation.where, "its gain is not known")


def _linear(x: Value, weight: Tensor, bias: Tensor | None = None) -> Value:
    like = torch.nn.functional.linear(x.like, weight)
    offset = 0.0 if bias is None else float(bias.double().norm())
    return _affine(x, largest_gain(weight), float(weight.double().norm()), offset, weight.shape[1], like, False)


def _conv(
    x: Value, operation: Operation, weight: Tensor, bias: Tensor | None = None, *more: Any, **kwargs: Any
) -> Value:
    if more or not direct(weight.device):
        raise UnsupportedOperator("conv2d", operation.where, "its rounding is not known here")
    settings = {k: kwargs[k] for k in ("stride", "padding", "dilation", "groups") if k in kwargs}
    like = torch.nn.functional.conv2d(x.like, weight, **settings)
    groups = settings.get("groups", 1)
    offset = 0.0 if bias is None else float(bias.double().norm()) * math.sqrt(like[0, 0].numel())
    gains = largest_gain(weight, groups), largest_gain(weight.abs(), groups)
    return _affine(x, *gains, offset, weight[0].numel(), like, True)


def _affine(x: Value, gain: float, absolute: float, offset: float, terms: int, like: Tensor, conv: bool) -> Value:
    """A linear layer; absolute: a bound on the gain of the absolute weights, for sums of rounding errors."""
    largest = absolute * x.size + offset
    each = _rounding(terms, like.device, conv) * largest + TINY * math.sqrt(like.numel()) * terms
    each = torch.where(largest < LARGE, each, torch.inf)  # beyond that float32 may overflow
    return Value(x.gain * gain, gain * x.size + offset + each, gain * x.error + each, torch.zeros_like(like))


def _rounding(terms: int, device: torch.device, conv: bool) -> float:
    return gamma(terms + 1) + product_error(device, conv)


def _sum(a: Any, b: Any, operation: Operation) -> Value:
    """Two branches, or a branch and a constant."""
    if isinstance(a, Value) and isinstance(b, Value):
        if a.like.shape != b.like.shape:
            raise UnsupportedOperator(operation.name, operation.where, "branches of different shapes")
        size = a.size + b.size
        return Value(a.gain + b.gain, size, a.error + b.error + UNIT * size, a.like)
    x, other = (a, b) if isinstance(a, Value) else (b, a)
    constant = torch.as_tensor(other, device=x.like.device)
    like = x.like + torch.zeros_like(constant)
    if like.shape != x.like.shape:
        raise UnsupportedOperator(operation.name, operation.where, "a constant larger than the value")
    size = x.size + float(constant.double().expand(like.shape).norm())
    return Value(x.gain, size, x.error + 4 * UNIT * size, x.like)


def _scaled(x: Value, other: Any, name: str) -> Value:
    constant = torch.as_tensor(other, device=x.like.device).double().abs()
    factor = float((1 / constant if name == "div" else constant).max())
    if (x.like + torch.zeros_like(constant)).shape != x.like.shape or not math.isfinite(factor):
        factor = math.inf
    size = factor * x.size * (1 + 4 * UNIT)
    return Value(x.gain * factor, size, factor * x.error + 4 * UNIT * size, x.like)


def _pooled(x: Value, operation: Operation, more: tuple[Any, ...], kwargs: Any) -> Value:
    """Pooling without overlap: no input counts twice, so that nothing is lengthened."""
    names = ("kernel_size", "stride", "padding")
    given = {**dict(zip(names, more, strict=False)), **{k: v for k, v in kwargs.items() if v is not None}}
    kernel, stride = (_pair(given.get(k) or given["kernel_size"]) for k in ("kernel_size", "stride"))
    plain = given.get("dilation", 1) in (1, (1, 1)) and not given.get("ceil_mode") and not given.get("divisor_override")
    if any(k > s for k, s in zip(kernel, stride, strict=True)) or not plain:
        raise UnsupportedOperator(operation.name, operation.where, "windows that overlap, or dilation")
    shape = {k: given[k] for k in names if k in given}
    like = getattr(torch.nn.functional, operation.name)(x.like, **shape)
    rounding = 0.0 if operation.name == "max_pool2d" else gamma(kernel[0] * kernel[1] + 1)
    return Value(x.gain, x.size * (1 + rounding), x.error + rounding * x.size, like)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _run(name: str, like: Tensor, more: tuple[Any, ...], kwargs: Any) -> Tensor:
    """The shape of a rearrangement, by doing it to zeros of one row."""
    if name in ("identity", "dropout", "contiguous"):
        return like
    try:
        out = getattr(like, name)(*more, **kwargs)
    except (RuntimeError, TypeError) as error:
        raise UnsupportedOperator(name, name, f"its arguments ({str(error).splitlines()[0]})") from None
    if out.shape[0] != 1:
        raise UnsupportedOperator(name, name, "it mixes the rows of a batch")
    return out
