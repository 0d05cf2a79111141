"""Interval bounds of linear rows of a network's outputs over boxes of its inputs: the plainest `Bounder`."""

from __future__ import annotations

import torch
from torch import nn

from robustly.certify.applying import applied, walked
from robustly.certify.enclosures.value import Interval
from robustly.certify.interval import RULES
from robustly.certify.questions import Bounded, Bounder, Questions, same_boxes
from robustly.certify.trace import trace
from robustly.certify.types import UnsupportedOperator


def boxes(module: nn.Module, inputs: int) -> Bounder:
    """Interval arithmetic through a module that maps (N, inputs) to (N, K).

    Raises:
        UnsupportedOperator: when it is made or asked: no rule for an operation.
    """
    operations = trace(module)

    def bound(questions: Questions) -> Bounded:
        group, first, _ = same_boxes(questions)
        out = walked(
            operations,
            Interval(questions.lower[first], questions.upper[first]),
            lambda operation, args, kwargs: applied(operation, args, kwargs, Interval, RULES),
        )
        if not isinstance(out, Interval) or len(out.shape) != 2:
            raise UnsupportedOperator("output", "output", "the network does not answer in shape (N, K)")
        out = out.take(group)
        centre, radius = out.halves()
        rows = questions.rows
        reach = torch.einsum("nrk,nk->nr", rows.abs(), radius)
        size = torch.einsum("nrk,nk->nr", rows.abs(), out.size) + questions.offsets.abs()
        least = torch.einsum("nrk,nk->nr", rows, centre) + questions.offsets - reach - 2.0**-40 * size
        return Bounded(torch.nan_to_num(least, nan=-torch.inf))

    return bound
