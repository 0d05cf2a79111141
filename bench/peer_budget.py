"""What a peer's query attack had found after so many queries; runs in the environment of the peers, without robustly.

The peers count queries each in its own way, or steps instead, and return their last point or their best. So the network
itself keeps the account: of every point it is asked, whose it is, whether it is misread and how far it lies, and it stops
the attack when the budget is spent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, nn

ORDER = {"linf": math.inf, "l2": 2, "l1": 1, "l0": 0}


class Spent(Exception):  # noqa: N818 - it says what happened
    """The budget is spent."""


class Till(nn.Module):
    """A network that keeps the nearest misread point of each example among its first `queries`.

    owner: the example that all rows of a question belong to; None where row i belongs to example i.
    """

    def __init__(self, net: nn.Module, x: Tensor, y: Tensor, norm: str, queries: int) -> None:
        super().__init__()
        self.net, self.x, self.y, self.order, self.queries = net, x, y, ORDER[norm], queries
        self.owner: int | None = None
        self.asked = torch.zeros(len(x), dtype=torch.int64)
        self.best, self.far = x.clone(), torch.full((len(x),), math.inf)

    def forward(self, z: Tensor) -> Tensor:
        """Scores (B, K).

        Raises:
            Spent: all queries were asked before.
        """
        owner = torch.arange(len(z)) if self.owner is None else torch.full((len(z),), self.owner)
        turn = self.asked[owner] + (0 if self.owner is None else torch.arange(len(z)))
        if (turn[:1] >= self.queries).all():
            raise Spent
        scores = self.net(z)
        point = z.detach().float()
        far = torch.linalg.vector_norm((point - self.x[owner]).flatten(1), ord=self.order, dim=1)
        inside = ((point >= 0) & (point <= 1)).flatten(1).all(1)
        far = torch.where((scores.argmax(1) != self.y[owner]) & (turn < self.queries) & inside, far, math.inf)
        for row in (far < self.far[owner]).nonzero().flatten().tolist():
            if far[row] < self.far[owner[row]]:
                self.far[owner[row]], self.best[owner[row]] = far[row], point[row]
        self.asked.index_add_(0, owner, torch.ones_like(owner))
        return scores


def spend(till: Till, attack: Callable[[Tensor, Tensor], object], one_by_one: bool) -> Tensor:
    """The nearest misread points (B, ...) after the attack or its budget has ended; x itself where there is none.

    attack: called with inputs and labels, of all examples or of one at a time, whose whole batch a question then is.
    """
    parts = [slice(i, i + 1) for i in range(len(till.x))] if one_by_one else [slice(None)]
    for part in parts:
        till.owner = part.start if one_by_one else None
        with suppress(Spent):
            attack(till.x[part], till.y[part])
    return till.best
