"""One search for a counterexample to a property: what is still open, what was tried, and what was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from robustly.certify.questions import Questions
from robustly.core.errors import Contradiction
from robustly.verifying.network import Network
from robustly.verifying.properties import Property
from robustly.verifying.replay import Counterexample, replayed
from robustly.verifying.search import Inside, descend, diversified, excess, starts

ROOM = 2**27
"""Numbers that the layers of a network may make in one step of a search, all points together."""
TRIES = 4
"""Points that are replayed after one step of a search; the others are likely the same point again."""


@dataclass
class Hunt:
    """The state of one search. open: bool (Q,), questions without a proof. end: on `clock`, in seconds.

    whole: what a counterexample is held to, where that is more than `wanted`. close: a point whose excess in torch is below this is replayed, for torch and onnxruntime differ in the last bits.
    """

    network: Network
    wanted: Property
    questions: Questions
    inside: Inside
    end: float
    clock: Callable[[], float]
    open: Tensor
    whole: Property | None = None
    found: Counterexample | None = None
    rounds: int = 0
    near: Tensor = field(default_factory=lambda: torch.empty(0))
    why_not: str = ""

    def __post_init__(self) -> None:
        """Which questions are about a box with a float32 in it: one look a box."""
        counts = self._counts()
        firsts = counts.cumsum(0) - counts
        inside = [bool((self.inside.lower[i] <= self.inside.upper[i]).all()) for i in firsts.tolist()]
        self._inhabited = torch.tensor(inside, dtype=torch.bool).repeat_interleave(counts)

    def _counts(self) -> Tensor:
        """How many questions there are about each box; they come box by box."""
        return torch.tensor([len(region.unsafe) for region in self.wanted.regions if region.unsafe])

    def over(self) -> bool:
        """Is the time up?"""
        return self.clock() >= self.end

    @property
    def reachable(self) -> Tensor:
        """Bool (Q,): open, and there is a float32 in the box to try."""
        return self.open & self._inhabited

    def tried(self, x: Tensor, owner: Tensor, far: Tensor) -> bool:
        """Replay the points (M, n) float32 of least excess (M,) where that is at most 0 or nearly so; was one to the letter?"""
        limit = 1e-6 * (1 + self.questions.offsets[owner].abs().amax(1))
        worth = (far <= limit).nonzero().squeeze(1)
        for i in worth[far[worth].argsort(stable=True)][:TRIES].tolist():
            found = replayed(self.network, self.whole or self.wanted, x[i].numpy())
            if found is not None:
                self.accept(found)
                return True
        return False

    def accept(self, found: Counterexample) -> None:
        """Keep a counterexample.

        Raises:
            Contradiction: it answers only questions that were proven to have no yes.
        """
        x = torch.from_numpy(found.inputs.astype(np.float64))
        y = torch.from_numpy(found.outputs.astype(np.float64))
        within = ((self.questions.lower <= x) & (x <= self.questions.upper)).all(1)
        yes = within & (self.questions.excess(y.expand(len(self.questions), 1, -1)).squeeze(1) <= 0)
        if not bool((yes & self.open).any()):
            raise Contradiction(
                f"{self.network.name}: a counterexample to what was proven. Inputs {found.inputs.tolist()[:50]}, outputs "
                f"{found.outputs.tolist()[:50]}. One of the two is wrong: please report it."
            )
        self.found = found

    def first(self) -> bool:
        """The middle of every box, before anything else; of one box once, however many questions there are about it."""
        counts, module = self._counts(), self.network.module
        ends = counts.cumsum(0)
        if module is None:
            return False
        for some in torch.arange(len(counts)).split(self.room(1024)):
            firsts = (ends - counts)[some]
            x = self.inside.point(self.inside.lower[firsts] / 2 + self.inside.upper[firsts] / 2, firsts)
            with torch.no_grad():
                y = module(x).double()
            owner = torch.arange(int(firsts[0]), int(ends[some[-1]]))
            box = torch.repeat_interleave(torch.arange(len(some)), counts[some])
            rows, offsets = self.questions.rows[owner], self.questions.offsets[owner]
            far = (torch.einsum("qrk,qk->qr", rows, y[box]) + offsets).amax(1)
            worth = far.argsort(stable=True)[: 4 * TRIES]
            if self.tried(x[box[worth]], owner[worth], far[worth]) or self.over():
                break
        return self.found is not None

    def room(self, count: int) -> int:
        """At most `count` points at once, and no more than fit into memory and into a small share of the time."""
        seconds = (self.end - self.clock()) / 50
        most = min(ROOM // self.network.numbers, seconds / max(self.network.seconds, 1e-9))
        return int(max(1, min(count, most)))

    def look(self, points: Tensor, owner: Tensor) -> bool:
        """Points (M, n) float64 inside boxes, asked and held to the letter where they come near."""
        if self.network.module is None or not len(owner):
            return False
        x = self.inside.point(points, owner)
        return self.tried(x, owner, excess(self.network.module, self.questions, x, owner))

    def descend(self, count: int, steps: int) -> bool:
        """One round of walks: about `count` starts shared among the open questions, random points first, then corners too."""
        owner = self.reachable.nonzero().squeeze(1)
        if self.network.module is None or not len(owner):
            return False
        self.rounds += 1
        count = self.room(count)
        each = max(1, count // len(owner))
        if len(owner) > count:  # more questions than starts: those that came nearest, others in turn
            owner = owner.roll(-((self.rounds - 1) * count) % len(owner))[:count]
        owner = owner.repeat_interleave(each)
        begin = starts(self.inside, owner, self.rounds, corners=self.rounds % 3 == 0)
        if self.rounds % 4 != 1:
            begin = diversified(self.network.module, self.inside, owner, begin, self.rounds)
        descend(
            self.network.module, self.questions, self.inside, owner, begin, self.tried, self.over,
            steps=steps, size=(0.25, 0.1, 0.5)[self.rounds % 3], summed=self.rounds % 2 == 0,
        )  # fmt: skip
        return self.found is not None

    def walk_from(self, points: Tensor, owner: Tensor, steps: int) -> bool:
        """Short walks from given points (M, n)."""
        if self.network.module is None or not len(owner):
            return False
        most = self.room(len(points))
        points, owner = points[:most], owner[:most]
        begin = self.inside.point(points, owner)
        descend(
            self.network.module,
            self.questions,
            self.inside,
            owner,
            begin,
            self.tried,
            self.over,
            steps=steps,
            size=0.05,
        )
        return self.found is not None

    def blind(self, count: int) -> bool:
        """Random points and corners through onnxruntime alone, for a network that torch does not have."""
        owner = self.reachable.nonzero().squeeze(1)
        if not len(owner):
            return False
        self.rounds += 1
        owner = owner[torch.arange(count) % len(owner)]
        x = starts(self.inside, owner, self.rounds, corners=self.rounds % 2 == 0)
        y = torch.from_numpy(self.network.ask(x.numpy())).double()
        far = (torch.einsum("mrk,mk->mr", self.questions.rows[owner], y) + self.questions.offsets[owner]).amax(1)
        return self.tried(x, owner, far)
