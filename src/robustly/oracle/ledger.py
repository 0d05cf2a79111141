"""Evidence and cost, per example: what was asked, what was found, what it took."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from robustly.core.rows import Batch, put, take
from robustly.oracle.reading import FIRM, Reading
from robustly.threats.base import PerturbationSet

__all__ = ["FIRM", "Ledger"]

Near = Callable[[Tensor], PerturbationSet]


class Ledger:
    """One row an example.

    forward, backward: int64 (B,), passes spent. hit: bool (B,), evidence was found. first: int64 (B,), which forward pass
    gave the first of it, counted from 1; -1 where there is none. firm: bool (B,), evidence that
    rounding cannot undo. point: the best evidence: firm before not, then near before far; with `deepest` the one of lowest
    margin, for random models, where the nearest is the luckiest. distance: float64 (B,), of that point. odd: bool (B,),
    the answer at it was not finite. best_margin: float64 (B,), the lowest margin seen; one that meets the goal counts only
    inside the set. flat: int64 (B,), gradient passes whose gradient was zero or not finite everywhere. shut: by row, the flag
    and a sentence why a remote left it unanswered; such a row is not asked again. closed: bool (B,), those; None for none.
    """

    def __init__(self, x: Batch, device: torch.device, deepest: bool = False) -> None:
        count = len(x)
        self.point = x.clone() if isinstance(x, Tensor) else x
        self.deepest = deepest
        self.classes = 0  # of the answers seen
        self.shut: dict[int, tuple[str, str]] = {}
        self.closed: Tensor | None = None
        self.changes = 0  # how often evidence was entered: while this stands, no row has closed for it
        self.forward = torch.zeros(count, dtype=torch.int64, device=device)
        self.backward = torch.zeros_like(self.forward)
        self.flat = torch.zeros_like(self.forward)
        self.first = torch.full_like(self.forward, -1)
        self.hit = torch.zeros(count, dtype=torch.bool, device=device)
        self.firm, self.odd = self.hit.clone(), self.hit.clone()
        self.distance = torch.full((count,), float("inf"), dtype=torch.float64, device=device)
        self.best_margin = torch.full_like(self.distance, float("inf"))
        self._rank = self.distance.clone()

    def pay(self, rows: Tensor, forward: int = 0, backward: int = 0) -> None:
        """Charge passes to rows (which may repeat)."""
        one = torch.ones_like(rows)
        if forward:
            self.forward.index_add_(0, rows, forward * one)
        if backward:
            self.backward.index_add_(0, rows, backward * one)

    def pay_each(self, rows: Tensor, forward: Tensor) -> None:
        """Charge forward passes (R,) to rows (which may repeat)."""
        self.forward.index_add_(0, rows, forward)

    def shut_out(self, rows: Tensor, why: Mapping[int, tuple[str, str]]) -> None:
        """Close rows that a remote left unanswered: why, by place in `rows`."""
        if not why:
            return
        closed = torch.zeros_like(self.hit) if self.closed is None else self.closed.clone()
        for place, said in why.items():
            row = int(rows[place])
            closed[row] = True
            self.shut.setdefault(row, said)
        self.closed = closed

    def note(self, rows: Tensor, z: Batch, reading: Reading, near: Near, price: int = 1) -> None:
        """Enter points asked (R of them), already paid, with what their answers say; `near(i)` gives the sets of some.

        price: the forward passes that each took.
        """
        met, firm, odd, margin = reading
        self.best_margin.scatter_reduce_(0, rows, torch.where(met, float("inf"), margin), "amin")
        where = met.nonzero().squeeze(1)  # the one look at the device where nothing was found
        if not len(where):
            return
        around, points = near(where), take(z, where)
        inside = around.contains(points).nonzero().squeeze(1)
        if not len(inside):
            return
        if len(inside) < len(where):
            around, points, where = around.take(inside), take(points, inside), where[inside]
        at, sure, distance = rows[where], firm[where], around.distance(points)
        self.best_margin.scatter_reduce_(0, at, margin[where], "amin")
        self._date(rows, where, price)
        self.changes += 1
        rank = margin[where] if self.deepest else distance
        better = (sure & ~self.firm[at]) | ((sure == self.firm[at]) & (rank < self._rank[at])) | ~self.hit[at]
        best = _one_a_row(at, sure, rank, better)
        at, where, distance, rank = at[best], where[best], distance[best], rank[best]
        self.hit[at] = True
        self.firm[at] |= firm[where]
        self.odd[at] = odd[where]
        self.distance[at], self._rank[at] = distance, rank
        points = take(points, best)
        if isinstance(self.point, Tensor) and isinstance(points, Tensor):
            self.point.index_copy_(0, at, points)  # the ledger's own copy
        else:
            self.point = put(self.point, at, points)

    def _date(self, rows: Tensor, where: Tensor, price: int) -> None:
        """Enter when rows had their first evidence: rows (R,), of points paid together; where (M,), which are evidence.

        A row's points are asked in their order, so those behind the first hit of this call weren't needed for it.
        """
        fresh = where[self.first[rows[where]] < 0]
        if not len(fresh):
            return
        at, order = rows[fresh], rows.argsort(stable=True)
        place = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order), device=order.device))
        behind = torch.searchsorted(rows[order], at, right=True) - 1 - place[fresh]
        never = torch.iinfo(torch.int64).max
        dates = torch.full_like(self.first, never).scatter_reduce_(0, at, self.forward[at] - price * behind, "amin")
        self.first[at] = dates[at]


def _one_a_row(owner: Tensor, firm: Tensor, rank: Tensor, among: Tensor) -> Tensor:
    """Of the proposals `among` (M,), the index of the best of each row: firm, then of least rank, then first."""
    index = among.nonzero().squeeze(1)
    owner = owner[index]
    if len(index) < 2 or bool((owner[1:] > owner[:-1]).all()):  # no row twice: by far the most calls
        return index
    order = torch.arange(len(index), device=index.device)
    for key in (rank[index], ~firm[index], owner):  # stable sorts, the least important first
        order = order[torch.argsort(key[order].to(torch.float64), stable=True)]
    first = torch.ones_like(order, dtype=torch.bool)
    first[1:] = owner[order][1:] != owner[order][:-1]
    return index[order[first].sort().values]
