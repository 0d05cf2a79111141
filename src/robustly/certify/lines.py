"""CROWN bounds of linear rows of a network's outputs over boxes of its inputs, as a `Bounder`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustly.certify.linear.bounds import Specs, bounds
from robustly.certify.linear.crown import crown
from robustly.certify.linear.enclosure import Enclosure
from robustly.certify.linear.forward import forward
from robustly.certify.linear.lowering.lower import lower
from robustly.certify.linear.program import Program
from robustly.certify.linear.refine import refine
from robustly.certify.linear.region import Region
from robustly.certify.questions import Bounded, Bounder, Questions, same_boxes
from robustly.certify.types import TooMuch


def lines(module: nn.Module, inputs: int) -> Bounder:
    """CROWN all the way: every range that a plane depends on by a backward pass of its own.

    Raises:
        UnsupportedOperator: no rule for an operation of the module, which maps (N, inputs) to (N, K).
        TooMuch: when it is asked: the last pass alone would take more than `MOST` operations.
    """
    program = lower(module, (inputs,))

    def least(region: Region, specs: Specs) -> Tensor:
        limit = _limit("CROWN", program, specs)
        return bounds(program, region, crown(program, region, limit=limit), specs)[0]

    return _shared(least)


def tuned_lines(module: nn.Module, inputs: int, steps: int = 20) -> Bounder:
    """alpha-CROWN in full: the planes of every layer, those behind the hidden ranges too, chosen by `steps` steps of ascent.

    Raises:
        UnsupportedOperator: as `lines`.
    """
    program = lower(module, (inputs,))

    def least(region: Region, specs: Specs) -> Tensor:
        _limit("alpha-CROWN", program, specs, 3 * steps)
        return refine(program, region, specs, steps)[1].lower

    return _shared(least)


MOST = 3e11
"""Operations of the bounds of one box, a minute or two of one core; hidden ranges for which they don't suffice stay looser."""


def _limit(what: str, program: Program, specs: Specs, times: int = 1) -> float:
    """Operations for the hidden ranges of each row.

    Raises:
        TooMuch: the last pass alone, on the specs themselves, would take more.
    """
    rows, count = specs.weights.shape[:2]
    last = 2.0 * times * rows * count * program.work[-1]
    if last > MOST:
        raise TooMuch(what, last, MOST)
    return MOST / rows


def _shared(least: Callable[[Region, Specs], Tensor]) -> Bounder:
    """Questions of one box side by side, so that its hidden ranges are found once for all of them."""

    def bound(questions: Questions) -> Bounded:
        group, first, place = same_boxes(questions)
        rows, offsets = questions.rows, questions.offsets
        count = int(place.max()) + 1 if len(place) else 1
        weights = rows[first].repeat(1, count, 1).unflatten(1, (count, rows.shape[1])).clone()
        constants = offsets[first].repeat(1, count).unflatten(1, (count, rows.shape[1])).clone()
        weights[group, place], constants[group, place] = rows, offsets
        region = Region(questions.lower[first], questions.upper[first])
        with torch.no_grad():
            found = least(region, Specs(weights.flatten(1, 2), constants.flatten(1, 2)))
        return Bounded(found.unflatten(1, (count, rows.shape[1]))[group, place])

    return bound


def sensitive_lines(module: nn.Module, inputs: int) -> Bounder:
    """CROWN bounds with what the width of each input costs: the bound's own derivative by the ends of the box, times the side.

    It counts what a narrower box would do to the planes of every layer, and not only the slope at the input; on the benchmark of
    small text classifiers a search by it needs a third of the boxes.

    Raises:
        UnsupportedOperator: as `lines`.
    """
    return _sensitive(lower(module, (inputs,)), crown)


def forward_lines(module: nn.Module, inputs: int) -> Bounder:
    """The same with hidden ranges by forward lines: looser in a large box, and ten times cheaper in deep networks of few inputs.

    Raises:
        UnsupportedOperator: as `lines`.
    """
    return _sensitive(lower(module, (inputs,)), forward)


def _sensitive(program: Program, ranges: Callable[[Program, Region], Enclosure]) -> Bounder:
    def bound(questions: Questions) -> Bounded:
        low, high = questions.lower.clone().requires_grad_(), questions.upper.clone().requires_grad_()
        with torch.enable_grad():
            region = Region(low, high)
            least, line = bounds(program, region, ranges(program, region), Specs(questions.rows, questions.offsets))
            best = least.amax(1)
            best = torch.where(torch.isfinite(best), best, 0.0)
            down, up = torch.autograd.grad(best.sum(), (low, high), allow_unused=True)
        corner = _corner(questions, least.detach(), line.slope.detach())
        slope = line.slope.detach()
        if down is None or up is None:
            return Bounded(least.detach(), None, corner, slope)
        cost = (down - up).clamp_min(0) * (questions.upper - questions.lower)
        return Bounded(least.detach(), cost, corner, slope)

    return bound


def _corner(questions: Questions, least: Tensor, slope: Tensor) -> Tensor:
    """Where the line of the best row is least."""
    best = least.argmax(1)[:, None, None].expand(-1, 1, slope.shape[2])
    return torch.where(slope.gather(1, best).squeeze(1) > 0, questions.lower, questions.upper)
