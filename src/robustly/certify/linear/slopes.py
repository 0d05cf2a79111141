"""alpha-CROWN and beta-CROWN: planes and the worth of split constraints chosen by gradient ascent on the bound.

Xu et al. 2021 (arXiv:2011.13824) for the slopes, Wang et al. 2021 (arXiv:2103.06624) for the multipliers. Any choice is
sound, so the search needs no care; what it returns was evaluated in float64 and is never below where it began.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustly.certify.linear.adam import begin, climb, slopes_at
from robustly.certify.linear.backward import Multipliers, Slopes
from robustly.certify.linear.bounds import Specs, bounds
from robustly.certify.linear.enclosure import Enclosure, Splits
from robustly.certify.linear.program import Nonlinear, Program
from robustly.certify.linear.region import Region

SLOPE, MULTIPLIER = 0, 1
Choices = dict[tuple[int, int], Tensor]
"""Parameters by kind and node."""


@dataclass(frozen=True)
class Tuned:
    """lower: float64 (B, S), the bounds. slopes, multipliers: what gave them, (B, S, *shape) each."""

    lower: Tensor
    slopes: Slopes = field(default_factory=dict)
    multipliers: Multipliers = field(default_factory=dict)

    def take(self, index: Tensor) -> Tuned:
        """Some rows, to start from in their sub-problems."""
        slopes = {k: v[index] for k, v in self.slopes.items()}
        return Tuned(self.lower[index], slopes, {k: v[index] for k, v in self.multipliers.items()})


def optimise(
    program: Program,
    region: Region,
    enclosure: Enclosure,
    specs: Specs,
    steps: int = 20,
    splits: Splits | None = None,
    start: Tuned | None = None,
    rate: float = 0.1,
    enough: float = 0.0,
    dtype: torch.dtype = torch.float64,
) -> Tuned:
    """The best bounds over `steps` steps of Adam from CROWN's slopes, or from `start`, ranges of hidden values as given.

    The enclosure must have taken in the splits. Stops early where every bound is above `enough`. dtype: of the search;
    float32 is about twice as fast.
    """
    choices = _begun(program, enclosure, specs, splits, start)
    first = _bound(program, region, enclosure, specs, choices, splits).detach()
    best, kept = first, choices
    if steps and not (first > enough).all():
        near = (region.to(dtype), enclosure.to(dtype), Specs(specs.weights.to(dtype), specs.constants.to(dtype)))
        begun = {k: v.to(dtype) for k, v in choices.items()}
        found = {k: v.double() for k, v in _climbed(program, *near, begun, splits, steps, rate, enough).items()}
        last = _bound(program, region, enclosure, specs, found, splits).detach()
        better = last > first
        best = torch.where(better, last, first)
        kept = {k: torch.where(_wide(better, v), v, choices[k]) for k, v in found.items()}
    slopes = {node: v for (kind, node), v in kept.items() if kind == SLOPE}
    return Tuned(best, slopes, {node: v for (kind, node), v in kept.items() if kind == MULTIPLIER})


def _begun(program: Program, enclosure: Enclosure, specs: Specs, splits: Splits | None, start: Tuned | None) -> Choices:
    """Where the search begins: one slope a node, row and spec wherever there is a choice."""
    found: Choices = {}
    count = specs.weights.shape[1]
    for number in sorted(program.ancestors[program.output]):
        node = program.nodes[number]
        if isinstance(node, Nonlinear) and node.rule.start is not None:
            boxes = [enclosure.boxes[s] for s in node.sources]
            if start is not None and number in start.slopes:
                found[SLOPE, number] = start.slopes[number]
            elif any(loose is not None and loose.any() for loose in node.rule.loose(boxes)):
                found[SLOPE, number] = node.rule.start(boxes).unsqueeze(1).expand(-1, count, *node.shape)
    for number, sign in (splits or {}).items():
        if sign.any():
            given = None if start is None else start.multipliers.get(number)
            none = specs.weights.new_zeros(len(sign), count, *program.nodes[number].shape)
            found[MULTIPLIER, number] = none if given is None else given
    return found


def _climbed(
    program: Program,
    region: Region,
    enclosure: Enclosure,
    specs: Specs,
    choices: Choices,
    splits: Splits | None,
    steps: int,
    rate: float,
    enough: float,
) -> Choices:
    """The choices at which each bound was best."""
    best: Tensor | None = None
    kept, state = choices, begin(choices)
    for step in range(steps):
        with torch.enable_grad():
            lower = _bound(program, region, enclosure, specs, state.at, splits)
            gradients = slopes_at(torch.where(torch.isfinite(lower), lower, 0).sum(), state)
        lower = lower.detach()
        better = torch.ones_like(lower, dtype=torch.bool) if best is None else lower > best
        best = lower if best is None else torch.where(better, lower, best)
        kept = {k: torch.where(_wide(better, v), v.detach(), kept[k]) for k, v in state.at.items()}
        if (best > enough).all() or step == steps - 1:
            break
        state = climb(state, gradients, rate, _in_range)
    return kept


def _in_range(key: tuple[int, int], value: Tensor) -> Tensor:
    return value.clamp(0, 1) if key[0] == SLOPE else value.clamp_min(0)


def _bound(
    program: Program, region: Region, enclosure: Enclosure, specs: Specs, choices: Choices, splits: Splits | None
) -> Tensor:
    slopes = {node: v for (kind, node), v in choices.items() if kind == SLOPE}
    multipliers = {node: v for (kind, node), v in choices.items() if kind == MULTIPLIER}
    return bounds(program, region, enclosure, specs, slopes, splits, multipliers)[0]


def _wide(flag: Tensor, like: Tensor) -> Tensor:
    """Bool (B, S) against (B, S, *shape)."""
    return flag.reshape(*flag.shape, *(1,) * (like.dim() - 2))
