"""Which open kink of a sub-problem to split, in the manner of BaBSR and filtered smart branching.

BaBSR (Bunel et al. 2020, "Branch and Bound for Piecewise Linear Neural Network Verification") ranks ReLUs by what their chord costs
the bound, with the bias of the layer in place of the value that the ReLU gets. Here that value is taken from the point where the
relaxation is least, which differentiation by the multipliers gives for all of them at once, and the cost is the share of the gap
that one kink bears. Filtered smart branching (De Palma et al. 2021, arXiv:2104.06718) then bounds the children of a few candidates
and keeps the best.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.certify.branching.layout import Layout
from robustly.certify.linear.backward import backward, relax
from robustly.certify.linear.bounds import Specs, bounds
from robustly.certify.linear.enclosure import Enclosure, Splits
from robustly.certify.linear.program import Program
from robustly.certify.linear.region import Region
from robustly.certify.linear.slopes import Tuned


class Part(NamedTuple):
    """Sub-problems for the engine: ranges with the splits taken in."""

    region: Region
    enclosure: Enclosure
    specs: Specs
    splits: Splits

    def to(self, dtype: torch.dtype) -> Part:
        """In another dtype."""
        specs = Specs(self.specs.weights.to(dtype), self.specs.constants.to(dtype))
        return Part(self.region.to(dtype), self.enclosure.to(dtype), specs, self.splits)

    def take(self, index: Tensor) -> Part:
        """Some of them."""
        splits = {k: v[index] for k, v in self.splits.items()}
        return Part(self.region.take(index), self.enclosure.take(index), self.specs.take(index), splits)


class Weighed(NamedTuple):
    """gap, intercept (N, W): what each open kink costs the best row's bound where the relaxation is least, and at worst; -1 for
    kinks that are not open. corner (N, *input): the input where it is least."""

    gap: Tensor
    intercept: Tensor
    corner: Tensor


def weigh(program: Program, layout: Layout, part: Part, tuned: Tuned) -> Weighed:
    """What the open kinks cost, in the dtype of the part."""
    dtype = part.region.low.dtype
    with torch.no_grad():
        planes = relax(program, part.enclosure, {k: v.to(dtype) for k, v in tuned.slopes.items()})
    nodes = list(layout.shapes)
    with torch.enable_grad():
        tops = {k: planes[k].high_offset.detach().requires_grad_() for k in nodes}
        planes = {k: p._replace(high_offset=tops[k]) if k in tops else p for k, p in planes.items()}
        signs = {k: torch.where(part.splits[k] == 0, 1, part.splits[k]) for k in nodes}
        nudges = {k: torch.zeros_like(tops[k], requires_grad=True) for k in nodes}
        held = {k: tuned.multipliers[k].to(dtype) * (part.splits[k] != 0).unsqueeze(1) + nudges[k] for k in nodes}
        line = backward(
            program, planes, part.enclosure.rounding, part.specs.weights, part.specs.constants, None, signs, held
        )
        lower = line.least(part.region)
        best = lower.detach().argmax(1)
        total = lower.gather(1, best[:, None]).sum()
        found = torch.autograd.grad(total, [*tops.values(), *nudges.values()], allow_unused=True)
    gaps, intercepts = {}, {}
    for i, k in enumerate(nodes):
        box = part.enclosure.boxes[program.switches[k]]
        none = torch.zeros_like(box.low)
        by_top, by_nudge = (none if g is None else g.squeeze(1) for g in (found[i], found[i + len(nodes)]))
        weight, value = by_top.abs(), -by_nudge * signs[k]
        open_ = (box.low < 0) & (box.high > 0) & (part.splits[k] == 0)
        share = torch.where(open_, box.high / (box.high - box.low), 0)
        chord = share * (value - box.low) - value.clamp_min(0)
        gaps[k] = torch.where(open_, (weight * chord).clamp_min(0), -1)
        intercepts[k] = torch.where(open_, weight * share * -box.low, -1)
    shape = (len(best), 1, *line.slope.shape[2:])
    slope = line.slope.detach().gather(1, best.view(-1, *(1,) * (line.slope.dim() - 1)).expand(shape)).squeeze(1)
    corner = torch.where(slope > 0, part.region.low, part.region.high)
    like = part.region.low
    return Weighed(layout.pack(gaps, like), layout.pack(intercepts, like), corner)


def candidates(found: Weighed, count: int) -> Tensor:
    """(N, C) kinks worth a look, the best by either cost; -1 where there are no more."""
    width = found.gap.shape[1]
    half = min(max(1, count // 2), width)
    first = found.gap.topk(half, 1).indices
    rest = found.intercept.scatter(1, first, -1.0)
    second = rest.topk(min(max(1, count - half), width), 1)
    first = torch.where(found.intercept.gather(1, first) < 0, -1, first)
    return torch.cat((first, torch.where(second.values < 0, -1, second.indices)), 1)


def with_sign(signs: Tensor, kink: Tensor, sign: int) -> Tensor:
    """Signs (N, W) with one more of each row, at kink (N,)."""
    return signs.scatter(1, kink[:, None], sign)


def plain(program: Program, part: Part, tuned: Tuned) -> Tensor:
    """Bounds (N,) of the best rows in the dtype of the part with slopes and multipliers as they are: to compare with, not to prove."""
    dtype = part.region.low.dtype
    slopes = {k: v.to(dtype) for k, v in tuned.slopes.items()}
    multipliers = {k: v.to(dtype) for k, v in tuned.multipliers.items()}
    whole = part.enclosure.split(program, part.splits)
    return bounds(program, part.region, whole, part.specs, slopes, part.splits, multipliers)[0].amax(1)
