"""CROWN and its neighbours as certifiers: backward linear bounds, from the cheapest to the tightest."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

from robustly.certify.linear.bounds import Specs, bounds
from robustly.certify.linear.certifying import certifier
from robustly.certify.linear.crown import crown as ranges
from robustly.certify.linear.crown import effort
from robustly.certify.linear.enclosure import Enclosure, enclose
from robustly.certify.linear.forward import forward
from robustly.certify.linear.program import Nonlinear, Program
from robustly.certify.linear.region import Region
from robustly.certify.linear.slopes import optimise
from robustly.certify.types import Certifier
from robustly.core.errors import UsageError
from robustly.core.specs import spec

LIMIT = 4e9
"""Operations for the hidden ranges of one example, about a second on one core."""


REACH = 0.5
"""Slopes are sought only where a bound has to make up at most this share of its distance from the margin at the middle."""
STEP = 3
"""Backward bounds that a step of the search for slopes costs about as much as."""
SAVED = 2**24
"""Most numbers of coefficients that the search for slopes keeps at a time."""


@spec("certifier", paper="Zhang et al. 2020, arXiv:1906.06316")
def crown_ibp(limit: float = LIMIT) -> Certifier:
    """Backward linear bounds of the margins, hidden ranges by interval arithmetic: the cost of some forward passes a class.

    For every network that `crown` takes; tight for networks that were trained with interval or CROWN-IBP bounds. A network
    that takes more than `limit` operations an example is left unknown.

    Raises:
        UsageError: a limit that is not above zero.
    """
    return certifier("crown_ibp", [_by_intervals], _checked(limit), _margins)


@spec("certifier", paper="Xu et al. 2020, arXiv:2002.12920")
def forward_lines(limit: float = LIMIT) -> Certifier:
    """Hidden ranges by linear functions carried forward, margins carried backward: for networks with few inputs.

    Costs two forward passes a number of the input, however many hidden values there are. For every network that `crown`
    takes; one that takes more than `limit` operations an example is left unknown.

    Raises:
        UsageError: a limit that is not above zero.
    """
    margins = _checked(limit)

    def refusal(program: Program) -> str | None:
        count = 4 * prod(program.nodes[0].shape) * program.work[-1]
        dear = f"it would take {count:.2g} operations an example, more than limit={limit:g}"
        return margins(program) or (None if count <= limit else dear)

    def stage(program: Program, region: Region, specs: Specs) -> Tensor:
        some = max(1, SAVED // (4 * prod(program.nodes[0].shape) * max(prod(n.shape) for n in program.nodes)))
        parts = torch.arange(len(region), device=region.low.device).split(some)
        return torch.cat([_by(forward, program, region.take(i), specs.take(i)) for i in parts])

    return certifier("forward_lines", [_by_intervals, stage], refusal)


@spec("certifier", paper="Zhang et al. 2018, arXiv:1811.00866")
def crown(limit: float = LIMIT) -> Certifier:
    """Backward linear bounds (CROWN) of the margins and of every hidden range that interval arithmetic leaves undecided.

    Covers linear, convolution (also transposed), batch norm, pooling, residual, concatenated and reshaped layers, ReLU and
    other activations; anything else is named. Costs up to `limit` operations an example for hidden ranges; layers beyond it
    keep interval ranges, which is looser and still sound. Holds for the model as it runs in float32, as `interval` does.

    Raises:
        UsageError: a limit that is not above zero.
    """

    def stage(program: Program, region: Region, specs: Specs) -> Tensor:
        return bounds(program, region, ranges(program, region, limit=limit), specs)[0]

    def operations(program: Program, region: Region) -> Tensor:
        return effort(program, region, limit) + 2 * _margins(program, region)

    return certifier("crown", [_by_intervals, stage], _checked(limit), operations)


@spec("certifier", paper="Xu et al. 2021, arXiv:2011.13824")
def alpha_crown(steps: int = 20, limit: float = LIMIT) -> Certifier:
    """CROWN, then slopes of its lower lines found by `steps` of gradient ascent for each margin that it leaves open.

    Never looser than `crown`, whose hidden ranges it keeps; costs about three final backward passes a step more, for
    examples whose bounds are near enough to zero to be made up.

    Raises:
        UsageError: steps < 1, a limit that is not above zero.
    """
    if steps < 1:
        raise UsageError(f"steps must be at least 1, got {steps}.")

    def stage(program: Program, region: Region, specs: Specs) -> Tensor:
        enclosure = ranges(program, region, limit=limit)
        lower = bounds(program, region, enclosure, specs)[0]
        middle = program((region.low + region.high) / 2).unsqueeze(1)
        clean = (specs.weights * middle).flatten(2).sum(2) + specs.constants
        near = (lower > 0) | (-lower <= REACH * (clean - lower))
        left = (near.all(1) & (lower <= 0).any(1)).nonzero().squeeze(1)
        numbers = sum(prod(node.shape) for node in program.nodes) * specs.weights.shape[1]
        for rows in left.split(max(1, SAVED // numbers)):
            tuned = optimise(program, region.take(rows), enclosure.take(rows), specs.take(rows), steps)
            lower = lower.index_copy(0, rows, torch.maximum(lower[rows], tuned.lower))
        return lower

    def operations(program: Program, region: Region) -> Tensor:
        return effort(program, region, limit) + (2 + STEP * steps) * _margins(program, region)

    return certifier("alpha_crown", [_by_intervals, stage], _checked(limit), operations)


def _by_intervals(program: Program, region: Region, specs: Specs) -> Tensor:
    """Ranges by interval arithmetic, but for a ball those of the first layer by its dual norm."""
    if not region.balls:
        return _by(enclose, program, region, specs)
    later = frozenset(
        i for i in program.bounded if any(isinstance(program.nodes[a], Nonlinear) for a in program.ancestors[i])
    )
    return bounds(program, region, ranges(program, region, skip=later, limit=LIMIT), specs)[0]


def _margins(program: Program, region: Region) -> Tensor:
    """Operations (B,) of the margins' own backward bounds."""
    return region.low.new_full((len(region),), float(program.work[-1] * (program.nodes[-1].shape[0] - 1)))


def _by(ranged: Callable[[Program, Region], Enclosure], program: Program, region: Region, specs: Specs) -> Tensor:
    return bounds(program, region, ranged(program, region), specs)[0]


def _checked(limit: float) -> Callable[[Program], str | None]:
    """What refuses a program of which the margins alone take more than `limit`."""
    if not limit > 0:
        raise UsageError(f"limit is a number of operations above zero, such as {LIMIT:g}, got {limit}.")

    def refusal(program: Program) -> str | None:
        count = program.work[-1] * (program.nodes[-1].shape[0] - 1)
        return None if count <= limit else f"it would take {count:.2g} operations an example, more than limit={limit:g}"

    return refusal
