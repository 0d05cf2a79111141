"""Branch and bound on the signs of a single layer of ReLUs, with linear programs solved many at a time.

As in `branching`, sub-problems are signs of ReLUs (Bunel et al. 2020, beta-CROWN); here each has a box and ranges of its own as
well. Its relaxation is solved nearly to the end (`ascent`); the slopes and multipliers that come of it go to the linear bounds,
which are what closes it. Where it stays open, the line that gave the bound narrows its box and its ranges: a counterexample lies
where that line is at most zero. Only a ReLU of weight below zero has a chord to lose by, and the one that reaches farthest, times
its weight, is split next, even if zero is near one end of its range: then one of the two is closed soon and the other has one
chord less. Of the small text classifiers of the verification competition that takes a sixth of the sub-problems that the gap at
the relaxation's best point takes, and less than half of those that the chord's height takes. The newest sub-problems come first,
so that few are open at a time; a proof needs all of them in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from robustly.certify.linear.bounds import Specs, bounds
from robustly.certify.linear.crown import crown
from robustly.certify.linear.enclosure import Enclosure
from robustly.certify.linear.program import Program
from robustly.certify.linear.region import Region
from robustly.certify.linear.rules import Box
from robustly.certify.shallow.ascent import Climbed, Saddle, Sides, climb, saddle
from robustly.certify.shallow.layer import Layer, one_layer
from robustly.certify.shallow.narrowing import narrowed
from robustly.certify.splitting import Look, Searched, clipped
from robustly.core.errors import UsageError

ROOM = 2**19
"""Numbers of the largest tensor, for which sub-problems are taken together."""

STEPS, ROUNDS, LAST = 20, 4, 50
"""Steps of ascent in a round, rounds of a sub-problem, and rounds where nothing is left to split."""

SHOWN = 32
"""Leaves of a batch, the worst, whose best points are shown."""


@dataclass(frozen=True)
class Leaves:
    """N sub-problems. owner (N,): their questions. low, high (N, n): boxes. least, most (N, m): ranges of the ReLUs' inputs, signs
    (N, m) int8 taken in. score (N,): bounds of the best rows. v (N, R, m), x (N, R, n) float32: where ascent begins."""

    owner: Tensor
    low: Tensor
    high: Tensor
    least: Tensor
    most: Tensor
    signs: Tensor
    score: Tensor
    v: Tensor
    x: Tensor

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def fields(self) -> tuple[Tensor, ...]:
        """All of it, in order."""
        return (self.owner, self.low, self.high, self.least, self.most, self.signs, self.score, self.v, self.x)

    def take(self, index: Tensor) -> Leaves:
        """Some of them."""
        return Leaves(*(t[index] for t in self.fields))


@dataclass
class _Search:
    """What is under way. rounding: of Q questions. piles: open leaves, the newest last."""

    program: Program
    specs: Specs
    layer: Layer
    rounding: dict[int, Tensor]
    piles: list[Leaves]
    stuck: Tensor
    boxes: int = 0
    lost: int = 0
    worst: float = torch.inf

    def __post_init__(self) -> None:
        """Float32 copies to search with; which ReLUs have a chord above them in some row."""
        (matrix, offset), (_, over) = self.layer.under, self.layer.over
        self.sides = Sides(matrix.float(), ((offset + over) / 2).float())
        self.bend = (-self.layer.weights).clamp_min(0).sum(1)
        self.bent = self.bend.amax(0).nonzero().squeeze(1)
        parts = (self.layer.weights, self.layer.slopes, self.layer.offsets)
        self.rows = tuple(t.float() for t in parts)

    @property
    def batch(self) -> int:
        """Sub-problems at once."""
        _, rows, kinks = self.layer.weights.shape
        return max(8, min(1024, ROOM // max(kinks * rows, len(self.bent) * self.layer.slopes.shape[2])))

    def task(self, leaves: Leaves) -> Saddle:
        """Their relaxations."""
        narrow = [t.float() for t in (leaves.least, leaves.most, leaves.low, leaves.high)]
        weights, slopes, offsets = (t[leaves.owner] for t in self.rows)
        return saddle((narrow[0], narrow[1]), leaves.signs, (narrow[2], narrow[3]), (weights, slopes, offsets))

    def improved(self, leaves: Leaves, rounds: int) -> Leaves:
        """Those that are still open after so many rounds of ascent, their boxes and ranges narrowed."""
        if not len(leaves):
            return leaves
        task = self.task(leaves)
        start = Climbed(leaves.v, leaves.x, leaves.v.new_zeros(leaves.v.shape[:2]))
        found = climb(self.sides, task, start, STEPS, rounds, rounds > ROUNDS)
        splits = self.layer.kinks.unpack(leaves.signs)
        region = Region(leaves.low.unflatten(1, self.shape), leaves.high.unflatten(1, self.shape))
        specs = self.specs.take(leaves.owner)
        lower, line = bounds(self.program, region, self.known(leaves), specs, *self.choice(leaves, found.v, splits))
        slope = line.slope.flatten(2)
        best = lower.argmax(1)
        row = torch.arange(len(best))
        score = torch.maximum(lower[row, best], leaves.score)
        low, high = clipped(leaves.low, leaves.high, lower, slope)
        flat = Region(leaves.low, leaves.high)
        some = self.bent
        (w, b), (u, d) = self.layer.under, self.layer.over
        box = narrowed(flat, (w[some], b[some]), (u[some], d[some]), slope[row, best], line.offset[row, best])
        least, most = leaves.least.clone(), leaves.most.clone()
        least[:, some], most[:, some] = torch.fmax(least[:, some], box.low), torch.fmin(most[:, some], box.high)
        shut = (score > 0) | (low > high).any(1) | (least > most).any(1)
        fresh = Leaves(leaves.owner, low, high, least, most, leaves.signs, score, found.v, found.x)
        return fresh.take((~shut).nonzero().squeeze(1))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an input."""
        return self.program.nodes[0].shape

    def known(self, leaves: Leaves) -> Enclosure:
        """Their ranges for the linear bounds."""
        least, most = (self.layer.kinks.unpack(t) for t in (leaves.least, leaves.most))
        boxes = {self.program.switches[k]: Box(least[k], most[k]) for k in least}
        return Enclosure(boxes, {k: v[leaves.owner] for k, v in self.rounding.items()})

    def choice(self, leaves: Leaves, v: Tensor, splits: dict[int, Tensor]) -> tuple[dict, dict, dict]:
        """Slopes, signs and multipliers of v: of a ReLU of weight c > 0 v = c slope, of a split one c - v or v is the charge."""
        weights, v, sign = self.layer.weights[leaves.owner], v.double(), leaves.signs.unsqueeze(1)
        slopes = torch.where(weights > 0, v / weights.clamp_min(1e-300), 0).clamp(0, 1)
        paid = torch.where(sign > 0, weights - v, torch.where(sign < 0, v, 0)).clamp_min(0)
        return self.layer.kinks.unpack(slopes), splits, self.layer.kinks.unpack(paid)

    def split(self, leaves: Leaves) -> tuple[Leaves, Leaves]:
        """The children, and leaves in which no ReLU is left to split."""
        able = (leaves.least < 0) & (leaves.most > 0) & (leaves.signs == 0)
        worth = self.bend[leaves.owner] * torch.maximum(-leaves.least, leaves.most)
        total = torch.where(able, worth, 0)
        kink = total.argmax(1, keepdim=True)
        done = (total.gather(1, kink) <= 0).squeeze(1)
        left = leaves.take((~done).nonzero().squeeze(1))
        kink = kink[~done]
        children = []
        for sign in (1, -1):
            signs = left.signs.scatter(1, kink, sign)
            least = torch.where(signs > 0, left.least.clamp_min(0), left.least)
            most = torch.where(signs < 0, left.most.clamp_max(0), left.most)
            children.append(Leaves(left.owner, left.low, left.high, least, most, signs, left.score, left.v, left.x))
        return joined(children), leaves.take(done.nonzero().squeeze(1))

    def next(self) -> Leaves:
        """The newest leaves, half a batch of them."""
        count = max(1, self.batch // 2)
        taken = [self.piles.pop()]
        while self.piles and sum(map(len, taken)) < count:
            taken.append(self.piles.pop())
        every = joined(taken)
        if len(every) > count:
            self.piles.append(every.take(torch.arange(count, len(every))))
        return every.take(torch.arange(min(count, len(every))))

    def add(self, leaves: Leaves) -> Leaves:
        """Bound new leaves, keep those that are open."""
        self.boxes += len(leaves)
        left = self.improved(leaves, ROUNDS)
        if len(left):
            self.piles.append(left)
        return left

    def give_up(self, leaves: Leaves) -> None:
        """Leaves that are open for good."""
        self.lost += len(leaves)
        self.stuck[leaves.owner] = True
        self.worst = min([self.worst, *leaves.score.tolist()])

    def ended(self, end: Literal["proven", "found", "time", "stuck"]) -> Searched:
        """What became of it."""
        proven, least = ~self.stuck, [self.worst]
        for pile in self.piles:
            proven[pile.owner] = False
            least += pile.score.tolist()
        return Searched(end, proven, self.boxes, self.lost + sum(map(len, self.piles)), min(least))


def split_layer(
    program: Program, region: Region, specs: Specs, look: Look, over: Callable[[], bool], most: int = 10**9
) -> Searched:
    """Prove of each of Q questions that in its box some spec of its R is above zero everywhere, as `split_relus` does.

    look: shown points (M, n) of the boxes and the questions they belong to; whether to stop. over: asked between batches whether
    the time is up; a search that has bounded `most` sub-problems ends so too.

    Raises:
        UnsupportedOperator: a program that is not one layer of ReLUs between affine operations.
        UsageError: balls around the region's centre, which this search does not know.
    """
    if region.balls:
        raise UsageError("this search is for boxes; use split_relus for balls.")
    with torch.no_grad():
        known = crown(program, region)
        layer = one_layer(program, known, specs)
        search = _Search(program, specs, layer, known.rounding, [], torch.zeros(len(region), dtype=torch.bool))
        roots, rows = _roots(layer, program, region, known, specs), specs.constants.shape[1]
        for some in torch.arange(len(roots)).split(search.batch):
            search.add(roots.take(some))
        while search.piles:
            if over() or search.boxes >= most:
                return search.ended("time")
            children, whole = search.split(search.next())
            lost = search.improved(whole, LAST)
            search.give_up(lost)
            for leaves in (lost, search.add(children)):
                shown = leaves.take(leaves.score.argsort()[:SHOWN])
                if len(shown) and look(shown.x.double().flatten(0, 1), shown.owner.repeat_interleave(rows)):
                    return search.ended("found")
    return search.ended("stuck" if search.lost else "proven")


def _roots(layer: Layer, program: Program, region: Region, known: Enclosure, specs: Specs) -> Leaves:
    low, high = region.low.flatten(1), region.high.flatten(1)
    count, rows = specs.constants.shape
    sources = {k: known.boxes[program.switches[k]] for k in layer.kinks.shapes}
    least = layer.kinks.pack({k: b.low for k, b in sources.items()}, low)
    most = layer.kinks.pack({k: b.high for k, b in sources.items()}, low)
    middle = ((low + high) / 2).float().unsqueeze(1).expand(-1, rows, -1)
    score = torch.full((count,), -torch.inf, dtype=torch.float64)
    signs = torch.zeros(least.shape, dtype=torch.int8)
    half = (layer.weights.clamp_min(0) / 2).float()
    return Leaves(torch.arange(count), low, high, least, most, signs, score, half, middle)


def joined(parts: list[Leaves]) -> Leaves:
    """One after the other."""
    return Leaves(*(torch.cat(fields) for fields in zip(*(p.fields for p in parts), strict=True)))
