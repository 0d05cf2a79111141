"""alpha-CROWN in full: slopes also for the ranges of hidden values, all climbed on the final bound (Xu et al. 2021)."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from robustly.certify.linear.adam import begin, climb, slopes_at
from robustly.certify.linear.bounds import Specs, bounds
from robustly.certify.linear.crown import Inner, crown
from robustly.certify.linear.enclosure import Enclosure, Splits, meet
from robustly.certify.linear.program import Nonlinear, Program
from robustly.certify.linear.region import Region
from robustly.certify.linear.slopes import Tuned, optimise

OWN = 2**22
"""Most numbers of slopes for which each hidden number has its own; beyond it all numbers of a node share theirs."""

Key = tuple[int, int]
"""The node whose range is sought (-1: the specs) and the node whose planes are chosen."""


def refine(
    program: Program,
    region: Region,
    specs: Specs,
    steps: int = 20,
    known: Enclosure | None = None,
    splits: Splits | None = None,
    rate: float = 0.1,
    enough: float = 0.0,
) -> tuple[Enclosure, Tuned]:
    """Narrower ranges of hidden values and the bounds they give, float64, neither looser than those of `crown`.

    Ranges that any step finds hold, so they are all met. Costs about three CROWN passes a step: for the root of a branch
    and bound rather than for many examples.
    """
    known = crown(program, region, known, splits)
    tuned = optimise(program, region, known, specs, 1, splits, rate=rate, enough=enough)
    begun = _begun(program, known, specs)
    if not begun or (tuned.lower > enough).all():
        return known, tuned
    state = begin(begun)
    for step in range(steps):
        with torch.enable_grad():
            found = crown(program, region, None, splits, _inner(state.at))
            final = {node: v for (target, node), v in state.at.items() if target < 0}
            lower = bounds(program, region, found, specs, final, splits)[0]
            gradients = slopes_at(torch.where(torch.isfinite(lower), lower, 0).sum(), state)
        boxes = {k: meet(b, _detached(found).boxes[k]) for k, b in known.boxes.items()}
        known = Enclosure(boxes, known.rounding)
        if (lower.detach() > enough).all() or step == steps - 1:
            break
        state = climb(state, gradients, rate, lambda key, value: value.clamp(0, 1))
    known = crown(program, region, known, splits)
    slopes = {node: v.detach() for (target, node), v in state.at.items() if target < 0}
    start = Tuned(tuned.lower, slopes, {})
    found = optimise(program, region, known, specs, steps, splits, start, rate, enough)
    return known, replace(found, lower=torch.maximum(found.lower, tuned.lower))


def _begun(program: Program, known: Enclosure, specs: Specs) -> dict[Key, Tensor]:
    """CROWN's own slopes for the specs and for every node that has planes with a choice before it."""
    rows, count = specs.weights.shape[:2]
    starts = {}
    for number, node in enumerate(program.nodes):
        if isinstance(node, Nonlinear) and node.rule.start is not None:
            boxes = [known.boxes[s] for s in node.sources]
            if any(loose is not None and loose.any() for loose in node.rule.loose(boxes)):
                starts[number] = node.rule.start(boxes)
    found = {(-1, k): v.unsqueeze(1).expand(rows, count, *v.shape[1:]) for k, v in starts.items()}
    for target in program.bounded:
        before = [k for k in starts if k in program.ancestors[target]]
        size = prod(program.nodes[target].shape)
        own = 2 * rows * size * sum(prod(program.nodes[k].shape) for k in before) <= OWN
        for k in before:
            shared = starts[k][:, None, None]
            found[target, k] = shared.expand(rows, 2, size if own else 1, *starts[k].shape[1:])
    return found


def _inner(at: dict[Key, Tensor]) -> Inner:
    found: dict[int, dict[int, Tensor]] = {}
    for (target, node), value in at.items():
        if target >= 0:
            found.setdefault(target, {})[node] = value
    return found


def _detached(enclosure: Enclosure) -> Enclosure:
    boxes = {k: type(b)(b.low.detach(), b.high.detach()) for k, b in enclosure.boxes.items()}
    return Enclosure(boxes, enclosure.rounding)
