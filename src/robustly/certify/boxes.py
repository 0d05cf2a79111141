"""Interval bounds of linear rows of a network's outputs over boxes of its inputs: the plainest `Bounder`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.fx.node import Node, map_arg

from robustly.certify.enclosures.value import Interval
from robustly.certify.interval import applied
from robustly.certify.questions import Bounded, Bounder, Questions
from robustly.certify.trace import trace
from robustly.certify.types import UnsupportedOperator


def boxes(module: nn.Module, inputs: int) -> Bounder:
    """Interval arithmetic through a module that maps (N, inputs) to (N, K).

    Raises:
        UnsupportedOperator: when it is made or asked: no rule for an operation.
    """
    operations = trace(module)

    def bound(questions: Questions) -> Bounded:
        values: dict[Node, Any] = {}
        out: Any = None
        for operation in operations:
            if operation.name == "input":
                values[operation.node] = Interval(questions.lower, questions.upper)
            elif operation.name == "constant":
                values[operation.node] = operation.args[0]
            elif operation.name == "output":
                out = values[operation.args[0]]
            else:
                args = map_arg(operation.args, values.__getitem__)
                kwargs = map_arg(operation.kwargs, values.__getitem__)
                values[operation.node] = applied(operation, args, kwargs)
        if not isinstance(out, Interval) or len(out.shape) != 2:
            raise UnsupportedOperator("output", "output", "the network does not answer in shape (N, K)")
        centre, radius = out.halves()
        rows = questions.rows
        reach = torch.einsum("nrk,nk->nr", rows.abs(), radius)
        size = torch.einsum("nrk,nk->nr", rows.abs(), out.size) + questions.offsets.abs()
        least = torch.einsum("nrk,nk->nr", rows, centre) + questions.offsets - reach - 2.0**-40 * size
        return Bounded(torch.nan_to_num(least, nan=-torch.inf))

    return bound
