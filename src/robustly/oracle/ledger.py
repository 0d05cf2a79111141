"""Evidence and cost, per example: what was asked, what was found, what it took."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robustly.core.rows import Batch, put, take
from robustly.goals import Goal
from robustly.threats.base import PerturbationSet

Near = Callable[[Tensor], PerturbationSet]
FIRM = 1e-6
"""A margin below -FIRM * max|scores| stays negative when the batch size changes the last bits of float32."""


class Ledger:
    """One row an example.

    forward, backward: int64 (B,), passes spent. hit: bool (B,), evidence was found. firm: bool (B,), evidence that
    rounding cannot undo. point: the best evidence, firm before close. distance: float64 (B,), of that point.
    found_at: int64 (B,), forward passes at the first hit. best_margin: float64 (B,), the lowest margin of any member
    asked. odd: bool (B,), the answer at that point was not finite. flat: int64 (B,), gradient passes whose gradient was zero
    or not finite everywhere.
    """

    def __init__(self, x: Batch, device: torch.device) -> None:
        count = len(x)
        self.point = x
        self.forward = torch.zeros(count, dtype=torch.int64, device=device)
        self.backward = torch.zeros_like(self.forward)
        self.flat = torch.zeros_like(self.forward)
        self.found_at = torch.full_like(self.forward, -1)
        self.hit = torch.zeros(count, dtype=torch.bool, device=device)
        self.firm, self.odd = self.hit.clone(), self.hit.clone()
        self.distance = torch.full((count,), float("inf"), dtype=torch.float64, device=device)
        self.best_margin = torch.full_like(self.distance, float("inf"))

    def pay(self, rows: Tensor, forward: int = 0, backward: int = 0) -> None:
        """Charge passes to rows (which may repeat)."""
        one = torch.ones_like(rows)
        if forward:
            self.forward.index_add_(0, rows, forward * one)
        if backward:
            self.backward.index_add_(0, rows, backward * one)

    def note(self, rows: Tensor, z: Batch, scores: Tensor, goal: Goal, near: Near) -> None:
        """Enter points asked with their scores (R, K); `goal` is that of the same rows, `near(i)` the sets of some."""
        margin = goal.margin(scores)
        finite = torch.isfinite(scores).all(1)
        met = ~(margin > 0) | ~finite
        scale = scores.abs().amax(1)
        firm = (margin < -FIRM * scale) | ~finite
        self._enter(rows, z, met, firm, margin.double(), ~finite, near)

    def note_labels(self, rows: Tensor, z: Batch, labels: Tensor, goal: Goal, near: Near) -> None:
        """The same for labels (R,), where every hit is firm for want of better."""
        met = goal.met_by_labels(labels)
        margin = torch.where(met, -1.0, 1.0).double()
        self._enter(rows, z, met, met, margin, torch.zeros_like(met), near)

    def _enter(
        self, rows: Tensor, z: Batch, met: Tensor, firm: Tensor, margin: Tensor, odd: Tensor, near: Near
    ) -> None:
        self.best_margin.scatter_reduce_(0, rows, torch.nan_to_num(margin, nan=float("-inf")), "amin")
        where = met.nonzero().squeeze(1)
        if not len(where):
            return
        inside = near(where).contains(take(z, where))
        where = where[inside]
        if not len(where):
            return
        points = take(z, where)
        distance = near(where).distance(points)
        where, points, distance = _best_a_row(rows, where, points, distance, firm)
        at, firm, odd = rows[where], firm[where], odd[where]
        better = (firm & ~self.firm[at]) | ((firm == self.firm[at]) & (distance < self.distance[at]))
        self.found_at[at] = torch.where(self.hit[at], self.found_at[at], self.forward[at])
        self.hit[at] = True
        at, chosen = at[better], better.nonzero().squeeze(1)
        self.firm[at] |= firm[better]
        self.odd[at] = odd[better]
        self.distance[at] = distance[better]
        self.point = put(self.point, at, take(points, chosen))


def _best_a_row(
    rows: Tensor, where: Tensor, points: Batch, distance: Tensor, firm: Tensor
) -> tuple[Tensor, Batch, Tensor]:
    """Where several proposals belong to one row: the best of each (firm, then near, then first)."""
    owner = rows[where]
    if len(owner.unique()) == len(owner):
        return where, points, distance
    order = sorted(range(len(owner)), key=lambda i: (not bool(firm[where[i]]), float(distance[i]), i))
    seen: set[int] = set()
    keep = []
    for i in order:
        if int(owner[i]) not in seen:
            seen.add(int(owner[i]))
            keep.append(i)
    index = torch.tensor(sorted(keep), device=rows.device)
    return where[index], take(points, index), distance[index]
