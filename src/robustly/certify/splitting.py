"""Branch and bound on the inputs: a complete search for networks of some fifty inputs at most.

Bunel et al. 2020, "Branch and Bound for Piecewise Linear Neural Network Verification", with input domains as the branches. A box
is cut where its linear bound says that the width of an input costs most; the worst boxes are cut first, many at a time. What the
bound rules out at the sides of a box is left off. Whoever asks for it also looks at points inside the boxes, which is where
counterexamples of narrow regions turn up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from robustly.certify.linear.rules import FINE
from robustly.certify.questions import Bounder, Questions
from robustly.core.errors import UsageError

Look: TypeAlias = Callable[[Tensor, Tensor], bool]
"""Given points (M, n) float64 and the question each belongs to (M,): has a counterexample been found? Then the search ends."""

NARROW = 2.0**-30
"""A box whose every side is below this share of its root's is not cut further."""


class Searched(NamedTuple):
    """How a complete search ended.

    end: "proven": no question has a yes; "found": `look` was content; "time"; "stuck": boxes that are too narrow to cut, or too
    many. proven: bool (Q,). boxes: how many were bounded. open: how many are left. worst: the lowest bound among those.
    least: float64 (Q,), where known: at most the best row of each question anywhere, which is above 0 where it is proven.
    """

    end: Literal["proven", "found", "time", "stuck"]
    proven: Tensor
    boxes: int
    open: int
    worst: float
    least: Tensor | None = None


class _Pool(NamedTuple):
    """Boxes that are still open: whose they are, their bound, and what each input's width costs."""

    owner: Tensor
    lower: Tensor
    upper: Tensor
    score: Tensor
    cost: Tensor

    def take(self, index: Tensor) -> _Pool:
        return _Pool(*(t[index] for t in self))


@dataclass
class _Search:
    """What is under way. near: the worst boxes; rest: the others, in the chunks they came in."""

    questions: Questions
    bound: Bounder
    look: Look
    near: _Pool
    rest: list[_Pool]
    stuck: Tensor
    boxes: int = 0
    lost: int = 0
    worst: float = torch.inf

    def add(self, owner: Tensor, lower: Tensor, upper: Tensor, floor: Tensor) -> bool:
        """Bound new boxes, keep those that are open, and look into them: was a counterexample found?

        A box is closed where any single row is out of reach. floor: (M,), what held of the boxes that they were cut from, and so
        of them; CROWN's planes change with the box, and now and then for the worse.
        """
        self.boxes += len(owner)
        found = self.bound(Questions(lower, upper, self.questions.rows[owner], self.questions.offsets[owner]))
        score = torch.maximum(found.least.amax(1), floor)
        side = upper - lower
        cost = side if found.cost is None else torch.where(torch.isfinite(found.cost), found.cost, 0.0) + 1e-9 * side
        shut = score > 0
        if found.slope is not None:
            lower, upper = clipped(lower, upper, found.least, found.slope)
            shut = shut | (lower > upper).any(1)
            cost = torch.where(side > 0, cost * (upper - lower) / side, cost)
        open_ = (~shut).nonzero().squeeze(1)
        if not len(open_):
            return False
        fresh = _Pool(owner, lower, upper, score, cost).take(open_)
        self.rest.append(fresh)
        points, owners = fresh.lower + (fresh.upper - fresh.lower) / 2, fresh.owner
        if found.corner is not None:
            points, owners = torch.cat((points, found.corner[open_])), owners.repeat(2)
        return self.look(points, owners)

    def worst_boxes(self, count: int) -> _Pool:
        """Take out some of the worst boxes, those too narrow to cut left aside."""
        if len(self.near.owner) < count and self.rest:
            every = _joined([self.near, *self.rest])
            order = every.score.argsort(stable=True)
            self.near = every.take(order[: 16 * count])
            self.rest = [every.take(order[16 * count :])] if len(order) > 16 * count else []
        now, self.near = (
            self.near.take(torch.arange(min(count, len(self.near.owner)))),
            _Pool(*(t[count:] for t in self.near)),
        )
        root = (self.questions.upper - self.questions.lower)[now.owner]
        able = ((now.upper - now.lower) > NARROW * root).any(1)
        lost = now.take((~able).nonzero().squeeze(1))
        self.lost += len(lost.owner)
        self.stuck[lost.owner] = True
        self.worst = min([self.worst, *lost.score.tolist()])
        return now.take(able.nonzero().squeeze(1))

    @property
    def open(self) -> int:
        """Boxes that may still be cut."""
        return len(self.near.owner) + sum(len(part.owner) for part in self.rest)

    def ended(self, end: Literal["proven", "found", "time", "stuck"]) -> Searched:
        left = _joined([self.near, *self.rest])
        proven = ~self.stuck
        proven[left.owner] = False
        return Searched(
            end,
            proven,
            self.boxes,
            self.lost + len(left.owner),
            min([self.worst, *left.score.sort().values[:1].tolist()]),
        )


def split_inputs(
    questions: Questions,
    bound: Bounder,
    look: Look,
    over: Callable[[], bool],
    *,
    batch: int = 512,
    most: int = 1_000_000,
) -> Searched:
    """Prove all questions, find a counterexample, or run out of time.

    over: asked between batches whether the time is up. batch: boxes bounded at once. most: boxes kept open.

    Raises:
        UsageError: batch < 2 or most < batch.
    """
    if batch < 2 or most < batch:
        raise UsageError(f"batch must be at least 2 and most at least as much, got {batch} and {most}.")
    none = torch.arange(0)
    nothing = _Pool(none, questions.lower[:0], questions.lower[:0], questions.offsets[:0, 0], questions.lower[:0])
    search = _Search(questions, bound, look, nothing, [], torch.zeros(len(questions), dtype=torch.bool))
    for some in torch.arange(len(questions)).split(batch):
        nothing_known = torch.full((len(some),), -torch.inf, dtype=torch.float64)
        if search.add(some, questions.lower[some], questions.upper[some], nothing_known):
            return search.ended("found")
    while search.open:
        if over():
            return search.ended("time")
        if search.open > most:
            return search.ended("stuck")
        now = search.worst_boxes(batch // 2)
        if len(now.owner) and search.add(*_halved(now, batch)):
            return search.ended("found")
    return search.ended("stuck" if search.lost else "proven")


def clipped(lower: Tensor, upper: Tensor, least: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """What of each box (M, n) can answer yes: where no linear function under a row is above zero, input by input.

    least: (M, R), at most the minima in the box of functions of slope (M, R, n). Such a function rises by slope_i (x_i - lower_i)
    at least where slope_i > 0, so x_i is at most -least / slope_i above the lower end; and so from the other side. An empty box
    (lower > upper somewhere) has no yes. Kotha et al. 2023 (arXiv:2302.01404) put bounds on the output to use in this way, Zhou
    et al. 2025 (arXiv:2512.11087) in each box of a search.
    """
    reach = -least.clamp_max(0).unsqueeze(2) / slope.abs()
    reach = torch.where(torch.isfinite(reach), reach, torch.inf)
    low, high = lower.unsqueeze(1), upper.unsqueeze(1)
    top = torch.where(slope > 0, low + reach + FINE * (low.abs() + reach), torch.inf).amin(1)
    bottom = torch.where(slope < 0, high - reach - FINE * (high.abs() + reach), -torch.inf).amax(1)
    return torch.maximum(lower, bottom), torch.minimum(upper, top)


def _joined(pools: list[_Pool]) -> _Pool:
    return _Pool(*(torch.cat(parts) for parts in zip(*pools, strict=True)))


def _halved(now: _Pool, batch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each box cut in half where it costs most; few boxes are cut along several inputs at once, so as to fill a batch."""
    owner, lower, upper, floor = now.owner, now.lower, now.upper, now.score
    cuts = max(1, min(3, (batch // (2 * len(owner))).bit_length(), lower.shape[1]))
    axes = now.cost.topk(cuts, dim=1).indices
    for k in range(cuts):
        axis = axes[:, k : k + 1]
        low, high = lower.gather(1, axis), upper.gather(1, axis)
        middle = low + (high - low) / 2
        owner, axes, floor = torch.cat((owner, owner)), torch.cat((axes, axes)), torch.cat((floor, floor))
        left, right = upper.scatter(1, axis, middle), lower.scatter(1, axis, middle)
        lower, upper = torch.cat((lower, right)), torch.cat((left, upper))
    return owner, lower, upper, floor
