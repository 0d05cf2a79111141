"""What an attack may ask a surrogate, none of which is on the bill of the model under attack."""

from __future__ import annotations

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.rows import Batch, column, device_of, put, take
from robustly.core.specs import spec
from robustly.goals import Goal
from robustly.oracle import Access, Model, door
from robustly.oracle.answers import Loss
from robustly.oracle.ledger import Ledger, Near
from robustly.oracle.reading import Reading
from robustly.steps.types import Attack, Case, Start

SALT = 0x5A
"""Keeps the draws on a surrogate apart from those that go on from its point."""


def refuse_blind(surrogate: Model) -> None:
    """Refuse a surrogate without gradients.

    Raises:
        UsageError: it has none.
    """
    if surrogate.access < Access.GRADIENTS:
        raise UsageError(
            f"the surrogate {surrogate.name} gives no gradients; take one that does, such as a torch network."
        )


class Lowest(Ledger):
    """A ledger that knows the point of lowest margin in each set too, be it evidence or not.

    lowest: those points; the input itself where none was asked. low: float64 (B,), their margins.
    """

    def __init__(self, x: Batch, device: torch.device) -> None:
        super().__init__(x, device, deepest=True)
        self.lowest = self.point
        self.low = torch.full_like(self.distance, torch.inf)

    def note(self, rows: Tensor, z: Batch, reading: Reading, near: Near, price: int = 1) -> None:
        """Enter points, and which of them are lower than all before."""
        super().note(rows, z, reading, near, price)
        where = (reading.margin < self.low[rows]).nonzero().squeeze(1)
        where = where[near(where).contains(take(z, where))] if len(where) else where
        where = where[reading.margin[where].argsort(stable=True)]
        place = torch.arange(len(where), device=rows.device)
        first = torch.full_like(self.forward, len(where)).scatter_reduce(0, rows[where], place, "amin")
        where = where[first[rows[where]] == place]  # the lowest of each row, which may have several points here
        self.low[rows[where]] = reading.margin[where]
        self.lowest = put(self.lowest, rows[where], take(z, where))


def lowest(surrogate: Model, inner: Attack, case: Case, key: Tensor) -> Batch:
    """The points (B, ...) of lowest margin on the surrogate that an attack on it finds within the case's sets.

    Where the surrogate holds, that is the point at which it is nearest to giving way; another model may have given way.
    """
    ledger = Lowest(case.around.x, device_of(case.around.x))
    oracle = door(surrogate)(surrogate, case.around, case.goal, press_on=True, ledger=ledger)
    inner(Case(case.around, case.goal, key, oracle))
    return ledger.lowest


def slope(surrogate: Model, case: Case, z: Tensor, loss: Loss, goal: Goal | None = None) -> Tensor:
    """The surrogate's gradient (B, ...) of a loss at z, of l2 length 1; zero where it is zero."""
    oracle = door(surrogate)(surrogate, case.around, case.goal, press_on=True)
    grad = oracle.gradient(z, loss, goal or case.goal).grad
    return grad / column(length(grad).clamp_min(1e-30), grad)


def length(change: Tensor) -> Tensor:
    """The l2 length (B,) of each row, scaled first, so that small ones don't vanish."""
    largest = change.flatten(1).abs().amax(1).clamp_min(1e-30)
    return (change / column(largest, change)).flatten(1).square().sum(1).sqrt() * largest


@spec("start", paper="Suya et al. 2020, arXiv:1908.07000, hybrid batch attacks, first hypothesis")
def from_surrogate(surrogate: Model, inner: Attack) -> Start:
    """The point of lowest margin that an attack finds on a surrogate. Costs the model nothing.

    Raises:
        UsageError: a surrogate without gradients.
    """
    refuse_blind(surrogate)

    def start(case: Case) -> Batch:
        return lowest(surrogate, inner, case, keys.fold(case.key, SALT))

    return start


def unit_normal(key: Tensor, like: Tensor) -> Tensor:
    """A random direction (B, ...) of l2 length 1 a row."""
    drawn = keys.normal(key, like.shape[1:]).to(like)
    return drawn / column(length(drawn), drawn)


def along(one: Tensor, other: Tensor) -> Tensor:
    """Inner products (B,) of rows."""
    return (one * other).flatten(1).sum(1)
