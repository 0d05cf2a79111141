"""CROWN bounds of linear rows of a network's outputs over boxes of its inputs, as a `Bounder`."""

from __future__ import annotations

import torch
from torch import nn

from robustly.certify.linear.bounds import Specs, bounds
from robustly.certify.linear.crown import crown
from robustly.certify.linear.enclosure import enclose
from robustly.certify.linear.lowering.lower import lower
from robustly.certify.linear.region import Region
from robustly.certify.questions import Bounded, Bounder, Questions


def lines(module: nn.Module, inputs: int) -> Bounder:
    """CROWN all the way: every range that a plane depends on by a backward pass of its own.

    Raises:
        UnsupportedOperator: no rule for an operation of the module, which maps (N, inputs) to (N, K).
    """
    program = lower(module, (inputs,))

    def bound(questions: Questions) -> Bounded:
        region = Region(questions.lower, questions.upper)
        with torch.no_grad():
            least, line = bounds(program, region, crown(program, region), Specs(questions.rows, questions.offsets))
        return Bounded(least, line.slope)

    return bound


def quick_lines(module: nn.Module, inputs: int) -> Bounder:
    """One backward pass over ranges from interval arithmetic.

    Raises:
        UnsupportedOperator: as `lines`.
    """
    program = lower(module, (inputs,))

    def bound(questions: Questions) -> Bounded:
        region = Region(questions.lower, questions.upper)
        with torch.no_grad():
            least, line = bounds(program, region, enclose(program, region), Specs(questions.rows, questions.offsets))
        return Bounded(least, line.slope)

    return bound
