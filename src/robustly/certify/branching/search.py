"""Branch and bound on the signs of ReLUs with beta-CROWN: a complete search for networks with many inputs.

Bunel et al. 2020 for the frame; Wang et al. 2021, "Beta-CROWN", arXiv:2103.06624, for the bound of a sub-problem. The worst
sub-problems are split first, many at a time; each starts from the slopes and multipliers of its parent. Ranges of hidden values
are those of the root with the signs taken in, but for the first sub-problems, where it pays to find them anew: all that comes
from them has the better ranges too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from robustly.certify.branching.scores import candidates, plain, weigh, with_sign
from robustly.certify.branching.shelf import Leaves, Shelf
from robustly.certify.branching.tree import Tree
from robustly.certify.linear.bounds import Specs
from robustly.certify.linear.program import Program
from robustly.certify.linear.refine import refine
from robustly.certify.linear.region import Region
from robustly.certify.linear.slopes import Tuned
from robustly.certify.splitting import Look, Searched
from robustly.core.errors import UsageError


@dataclass(frozen=True)
class Effort:
    """How much is spent where.

    root: steps of ascent on each question before anything is split. quick, steps: steps for all children, and for those that are
    still open then. rate: of both. last: steps where no kink is left to split. looks: candidates whose children are bounded before
    one is chosen. anew: how many sub-problems get ranges of their own. room: bytes for open sub-problems. most: sub-problems in all.
    """

    root: int = 5
    quick: int = 2
    steps: int = 6
    rate: float = 0.1
    last: int = 200
    looks: int = 3
    anew: int = 256
    room: float = 2.0**30
    most: int = 10**9


EFFORT = Effort()


@dataclass
class _Search:
    """What is under way. lost: sub-problems with nothing left to split and no proof."""

    tree: Tree
    look: Look
    over: Callable[[], bool]
    effort: Effort
    shelf: Shelf | None = None
    stuck: Tensor = field(init=False)
    waiting: Tensor = field(init=False)
    least: Tensor = field(init=False)
    bounded: int = 0
    lost: int = 0
    worst: float = torch.inf

    def __post_init__(self) -> None:
        """Nothing is known yet."""
        count = len(self.tree.region)
        self.stuck, self.waiting = torch.zeros(count, dtype=torch.bool), torch.ones(count, dtype=torch.bool)
        self.least = torch.full((count,), torch.inf, dtype=torch.float64)

    def open(self, leaves: Leaves) -> Leaves:
        """Those that are not closed; of the others only the bound is kept."""
        shut = leaves.score > 0
        self.note(leaves.take(shut.nonzero().squeeze(1)))
        return leaves.take((~shut).nonzero().squeeze(1))

    def note(self, leaves: Leaves) -> None:
        """No question is above the least of its parts."""
        self.least = self.least.scatter_reduce(0, leaves.owner, leaves.score, "amin")

    def give_up(self, leaves: Leaves) -> None:
        """Leaves that are open for good."""
        self.note(leaves)
        self.lost += len(leaves)
        self.stuck[leaves.owner] = True
        self.worst = min([self.worst, *leaves.score.tolist()])

    def roots(self, index: Tensor) -> Leaves:
        """The questions `index` whole, which have one region: its ranges are found once for all of them."""
        tree = self.tree
        specs = tree.specs.take(index)
        (count, lines), every = (
            specs.constants.shape,
            Specs(*(t.flatten(0, 1)[None] for t in (specs.weights, specs.constants))),
        )
        enclosure, tuned = refine(tree.program, tree.region.take(index[:1]), every, self.effort.root)
        slopes = {k: v[0].unflatten(0, (count, lines)) for k, v in tuned.slopes.items()}
        found = Tuned(tuned.lower.view(count, lines), slopes, {})
        nothing = specs.constants.new_zeros(count, lines, tree.kinks.width)
        signs = torch.zeros(count, tree.kinks.width, dtype=torch.int8)
        leaves = Leaves(index, tree.learn(enclosure).expand(count), signs, found.lower, nothing, nothing)
        self.bounded += count
        return tree.with_choice(leaves, found)

    def keep(self, leaves: Leaves) -> bool:
        """Put aside those that are open; is there room?"""
        leaves = self.open(leaves)
        if self.shelf is None:
            self.shelf = Shelf(leaves, self.effort.room)
        if self.shelf.put(leaves):
            return True
        self.give_up(leaves)
        return False

    def grow(self, leaves: Leaves) -> Literal["found", "stuck", "on"]:
        """Split some leaves and keep their children."""
        tree, narrow = self.tree, torch.float32
        if not tree.kinks.width:
            self.give_up(leaves)
            return "on"
        part, tuned = tree.part(leaves).to(narrow), tree.tuned(leaves)
        weighed = weigh(tree.program, tree.kinks, part, tuned)
        options = candidates(weighed, self.effort.looks)
        if self.look(weighed.corner.double().flatten(1), leaves.owner):
            self.give_up(leaves)
            return "found"
        whole = options.amax(1) < 0
        if whole.any():
            self.finish(leaves.take(whole.nonzero().squeeze(1)))
        some = (~whole).nonzero().squeeze(1)
        if not len(some):
            return "on"
        leaves, options = leaves.take(some), options[some]
        kink = self.chosen(leaves, options)
        pair = torch.arange(len(leaves)).repeat(2)
        signs = torch.cat([with_sign(leaves.signs, kink, sign) for sign in (1, -1)])
        children = replace(leaves.take(pair), signs=signs)
        self.bounded += len(children)
        if tree.ranges + len(children) <= self.effort.anew:
            children = tree.narrowed(children)
        for steps in (self.effort.quick, self.effort.steps):
            parts = children.owner.new_tensor(range(len(children))).split(tree.batch)
            done = [self.open(tree.bounded(children.take(i), steps, self.effort.rate)) for i in parts]
            children = _joined(done)
            if not len(children):
                return "on"
        return "on" if self.keep(children) else "stuck"

    def chosen(self, leaves: Leaves, options: Tensor) -> Tensor:
        """The kink (N,) of the options (N, C), -1 for none, whose children are best at once; the worse child counts."""
        row, place = (options >= 0).nonzero(as_tuple=True)
        kink = options[row, place]
        worth = torch.full(options.shape, -torch.inf)
        for i in torch.arange(len(row)).split(max(1, self.tree.batch)):
            mine = leaves.take(row[i])
            sides = []
            for sign in (1, -1):
                child = replace(mine, signs=with_sign(mine.signs, kink[i], sign))
                part = self.tree.part(child).to(torch.float32)
                with torch.no_grad():
                    sides.append(plain(self.tree.program, part, self.tree.tuned(child)).clamp_max(0))
            worse, better = torch.minimum(*sides), torch.maximum(*sides)
            worth[row[i], place[i]] = (worse + 0.01 * better).float()
        return options.gather(1, worth.argmax(1, keepdim=True)).squeeze(1)

    def finish(self, leaves: Leaves) -> None:
        """Leaves without an open kink: the bound is exact but for the multipliers, so only more steps can help."""
        for rate in (self.effort.rate, self.effort.rate / 10):
            leaves = self.open(self.tree.bounded(leaves, self.effort.last, rate))
        self.give_up(leaves)

    def ended(self, end: Literal["proven", "found", "time", "stuck"]) -> Searched:
        proven, count = ~self.stuck & ~self.waiting, self.lost + int(self.waiting.sum())
        worst, least = self.worst, torch.where(self.waiting, -torch.inf, self.least)
        if self.shelf is not None and len(self.shelf):
            owner, score = self.shelf.scores
            proven[owner] = False
            least = least.scatter_reduce(0, owner, score, "amin")
            count, worst = count + len(score), min(worst, float(score.min()))
        return Searched(end, proven, self.bounded, count, worst, least)


def split_relus(
    program: Program,
    region: Region,
    specs: Specs,
    look: Look,
    over: Callable[[], bool],
    effort: Effort = EFFORT,
) -> Searched:
    """Prove of each of Q questions that some spec of its R is above zero everywhere in its region, find a counterexample, or run
    out of time. A search ends "stuck" where kinks are left to nothing but the margin is not above rounding, or memory is full.

    look: shown points (M, n) of the regions, flattened, and the questions they belong to; whether to stop. over: asked between
    batches whether the time is up; a search that has bounded `effort.most` sub-problems ends so too.

    Raises:
        UsageError: steps or candidates below 1.
    """
    if min(effort.steps, effort.looks, effort.last) < 1 or min(effort.quick, effort.root, effort.anew) < 0:
        raise UsageError(f"steps, last and looks must be at least 1, quick, root and anew at least 0, got {effort}.")
    search = _Search(Tree(program, region, specs), look, over, effort)
    with torch.no_grad():
        for some in _alike(region):
            if over():
                return search.ended("time")
            leaves = search.roots(some)
            search.waiting[some] = False
            search.keep(leaves)
        while search.shelf is not None and len(search.shelf):
            if over() or search.bounded >= effort.most:
                return search.ended("time")
            state = search.grow(search.shelf.worst(max(1, search.tree.batch // 2)))
            if state != "on":
                return search.ended(state)
    return search.ended("stuck" if search.lost else "proven")


def _alike(region: Region) -> Sequence[Tensor]:
    """Neighbours that are the same region."""
    parts = [region.low, region.high, *(t for ball in region.balls for t in (ball.centre, ball.eps))]
    same = torch.stack([(t[1:] == t[:-1]).flatten(1).all(1) if t.dim() > 1 else t[1:] == t[:-1] for t in parts]).all(0)
    return torch.arange(len(region)).tensor_split((~same).nonzero().squeeze(1) + 1)


def _joined(parts: list[Leaves]) -> Leaves:
    return Leaves(*(torch.cat(fields) for fields in zip(*(p.fields for p in parts), strict=True)))
