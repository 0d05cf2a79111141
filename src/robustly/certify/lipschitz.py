"""A certified l2 radius from how much each layer can lengthen a difference."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robustly.certify.applying import applied, walked
from robustly.certify.enclosures.pointwise import Refused
from robustly.certify.enclosures.value import LARGE, TINY, UNIT
from robustly.certify.gains import RULES, Value, rounding
from robustly.certify.networks import NoNetwork, network
from robustly.certify.reach import reach
from robustly.certify.trace import Operation, trace
from robustly.certify.types import Bound, Certifier, UnsupportedOperator, abstain
from robustly.core.specs import spec
from robustly.goals import Goal
from robustly.oracle.model import Model
from robustly.threats.base import PerturbationSet

AGREES = 1e-3
"""How far, relative to the largest score, the network may answer from the model before it is taken for another."""


@spec("certifier", paper="Tsuzuku et al. 2018, arXiv:1802.04034")
def lipschitz() -> Certifier:
    """Margin over Lipschitz constant, in l2, rounding included: for networks that were built to have a small one.

    The largest gain of every layer is bounded from above, and that of the last by class: the margin of y over k falls by at most
    G |w_y - w_k| r, where G is the product of the gains below. Understands linear layers, convolutions (also transposed), batch
    norms with stored statistics, ReLU, leaky ReLU, pooling without overlap, sums of branches, the layers of `sll`, and constants
    added or multiplied. Other sets are enclosed by an l2 ball.

    The forward error of float32 is bounded along the way by norms (Higham 2002, section 3.1) and taken off twice: at the
    input, whose margin is asked, and at the member.
    """

    def certify(model: Model, around: PerturbationSet, goal: Goal) -> Bound:
        far = reach(around, "l2")
        if far is None or not len(goal):
            return abstain(goal, "there is no l2 ball around the inputs")
        anchor = goal.y if goal.target is None else goal.target
        try:
            module = network(model)
            with torch.no_grad():
                scores = model.ask_all(around.x)
                if scores.dim() != 2 or scores.shape[1] < 2 or int(anchor.max()) >= scores.shape[1]:
                    return abstain(
                        goal, f"scores of 2 or more classes that hold every label are needed, not {tuple(scores.shape)}"
                    )
                here = torch.cat([module(around.x[part]) for part in model.parts(around.x, len(goal))])
                drop, error = _drops(trace(module), around.x, far, goal, scores)
                alone = module(around.x[:1])
        except NoNetwork as nothing:
            return abstain(goal, str(nothing))
        except UnsupportedOperator as unsupported:
            return abstain(goal, f"lipschitz bound: {unsupported}")
        if here.shape != scores.shape or not _near(here, scores):
            return abstain(goal, "the network behind the model does not answer as the model does")
        if not _near(alone, here[:1]):
            return abstain(goal, "the network answers otherwise alone than in a batch")
        wide = scores.double()
        gap = wide.gather(1, anchor[:, None]) - wide
        gap = (gap if goal.target is None else -gap) - drop - 2 * error
        gap = gap.scatter(1, anchor[:, None], math.inf if goal.target is None else -math.inf)
        lower = gap.amin(1) if goal.target is None else gap.amax(1)
        lower = torch.where(torch.isnan(lower), -torch.inf, lower - 1e-6 * lower.abs())
        why = tuple(None if v > 0 else f"lipschitz bound {v:.4g} is not above 0" for v in lower.tolist())
        return Bound(lower, why, 2)

    return certify


def _near(one: Tensor, other: Tensor) -> bool:
    return bool(((one - other).abs().amax(1) <= AGREES * other.abs().amax(1)).all())


class Drops(NamedTuple):
    """How much the difference of each score to that of the goal's class can fall over the set, and be off: float64 (B, K)."""

    fall: Tensor
    error: Tensor


def _drops(operations: tuple[Operation, ...], x: Tensor, far: Tensor, goal: Goal, scores: Tensor) -> Drops:
    """The drops of a network around inputs x, whose scores are known; far: the radii (B,)."""
    size = (x.double().flatten(1).norm(dim=1) + far) * (1 + UNIT)
    start = Value(1.0, size, torch.zeros_like(size), torch.zeros_like(x[:1]))
    result, anchor = operations[-1].args[0], goal.y if goal.target is None else goal.target

    def step(operation: Operation, args: Any, kwargs: Any) -> Any:
        final = partial(_last, anchor=anchor, far=far)
        known = {**RULES, "linear": final} if operation.node is result else RULES
        return applied(operation, args, kwargs, Value, known)

    out = walked(operations, start, step)
    if isinstance(out, Drops):
        return out
    if not isinstance(out, Value) or out.like.shape[1:] != scores.shape[1:]:
        raise UnsupportedOperator("output", "output", "the network does not answer with scores made from its input")
    both = math.sqrt(2) * torch.ones_like(scores, dtype=torch.float64)
    return Drops(both * (out.gain * far)[:, None], both * out.error[:, None])


def _last(x: Value, weight: Tensor, bias: Tensor | None = None, *, anchor: Tensor, far: Tensor) -> Drops:
    """The same for a last linear layer, class by class."""
    if x.like.dim() != 2:
        raise Refused("a value that is no row of numbers")
    w = weight.double()
    apart = torch.cdist(w[anchor], w, compute_mode="donot_use_mm_for_euclid_dist") * (1 + 1e-9)
    lengths = w.norm(dim=1)
    constants = torch.zeros_like(lengths) if bias is None else bias.double().abs()
    largest = lengths[None] * x.size[:, None] + constants
    each = rounding(w.shape[1], w.device, conv=False) * largest + TINY * w.shape[1]
    each = torch.where(largest < LARGE, each, torch.inf)  # beyond that float32 may overflow
    off = apart * x.error[:, None] + each + each.gather(1, anchor[:, None])
    return Drops(apart * (x.gain * far)[:, None], off)
