"""What a complete search asks of a network: is there an input of a box whose outputs meet all of some linear rows?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True)
class Questions:
    """Q questions of one network with n inputs and K outputs: some x in a box with rows @ y(x) + offsets <= 0, all of them?

    lower, upper: float64 (Q, n), around the box. rows: float64 (Q, R, K), offsets: float64 (Q, R), at most the exact ones;
    where a question has fewer than R rows, one of them is repeated.
    """

    lower: Tensor
    upper: Tensor
    rows: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.lower)

    def take(self, index: Tensor) -> Questions:
        """Some of them."""
        return Questions(self.lower[index], self.upper[index], self.rows[index], self.offsets[index])

    def excess(self, outputs: Tensor) -> Tensor:
        """The largest row (Q, S) for outputs (Q, S, K): a question is answered yes where it is at most 0."""
        return (torch.einsum("qrk,qsk->qsr", self.rows, outputs.double()) + self.offsets[:, None]).amax(2)


class Bounded(NamedTuple):
    """What is known of N questions' boxes.

    least: float64 (N, R), at most rows @ y + offsets anywhere in the box, for the network as it runs in float32; -inf where
        nothing is known. cost: (N, n) >= 0, where known: what the width of each input costs the best row's bound, used to choose
        what to cut. corner: (N, n), where known: the point where a linear lower bound of that row is least, worth a look.
    slope: float64 (N, R, n), where known: of linear functions under the rows, of which `least` is at most the minimum in the box.
    """

    least: Tensor
    cost: Tensor | None = None
    corner: Tensor | None = None
    slope: Tensor | None = None


Bounder: TypeAlias = Callable[[Questions], Bounded]
"""A sound bound of each row of each question; rows of the batch don't know of each other."""


def same_boxes(questions: Questions) -> tuple[Tensor, Tensor, Tensor]:
    """For neighbours with the same box: the number of their group (Q,), the first of each group (G,), the place in it (Q,)."""
    count = len(questions)
    fresh = torch.ones(count, dtype=torch.bool)
    if count > 1 and questions.lower.stride(0) == questions.upper.stride(0) == 0:
        fresh[1:] = False
    elif count > 1:
        same = (questions.lower[1:] == questions.lower[:-1]).all(1) & (questions.upper[1:] == questions.upper[:-1]).all(
            1
        )
        fresh[1:] = ~same
    group, first = fresh.long().cumsum(0) - 1, fresh.nonzero().squeeze(1)
    return group, first, torch.arange(count) - first[group]
