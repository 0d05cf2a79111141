"""The only door to a model: it grants access, counts passes, skips what is decided, and keeps the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.errors import AccessError, UsageError
from robustly.core.rows import Batch, cut, device_of, spread, take
from robustly.goals import Goal
from robustly.oracle.ledger import Ledger
from robustly.oracle.model import Access, Model
from robustly.threats.base import PerturbationSet

Loss = Callable[[Tensor, Goal], Tensor]


class Answer(NamedTuple):
    """One gradient pass: value (B,), grad (B, ...), scores (B, K); zeros in rows that were not asked."""

    value: Tensor
    grad: Tensor
    scores: Tensor


class Proposals(NamedTuple):
    """Scores (M, K) of M candidates, and which were asked, bool (M,); the others have zero scores."""

    scores: Tensor
    asked: Tensor


@dataclass(frozen=True)
class Limits:
    """Hard limits. queries: most forward passes an example, None for no limit."""

    queries: int | None = None

    def __post_init__(self) -> None:
        """Refuse what would ask nothing."""
        if self.queries is not None and self.queries < 1:
            raise UsageError(f"a query budget is at least 1, got {self.queries}.")


class Oracle:
    """One attack's counted window on a model, for one batch.

    Rows that are decided (firm evidence was found) or out of budget are not asked again, unless `press_on`: then only the
    budget stops a row, for attacks that look for the nearest point or the worst. A point becomes evidence only here: asked,
    a member of the set, and meeting the oracle's goal, whatever goal the attack climbs. `tick(forward, backward)` is told of
    passes as they are paid, for progress.
    """

    def __init__(
        self,
        model: Model,
        around: PerturbationSet,
        goal: Goal,
        *,
        limits: Limits = Limits(),
        press_on: bool = False,
        clean: Tensor | None = None,
        ledger: Ledger | None = None,
        rows: Tensor | None = None,
        tick: Callable[[int, int], None] | None = None,
    ) -> None:
        self.model, self.around, self.goal, self.limits, self.press_on = model, around, goal, limits, press_on
        self._clean, self._tick = clean, tick
        device = device_of(around.x)
        self.ledger = ledger or Ledger(around.x, device)
        self.rows = torch.arange(len(around), device=device) if rows is None else rows

    def take(self, index: Tensor) -> Oracle:
        """A window on some rows, with the same ledger."""
        return Oracle(
            self.model,
            self.around.take(index),
            self.goal.take(index),
            limits=self.limits,
            press_on=self.press_on,
            clean=None if self._clean is None else self._clean[index],
            ledger=self.ledger,
            rows=self.rows[index],
            tick=self._tick,
        )

    @property
    def open(self) -> Tensor:
        """Bool (B,): rows that would be asked."""
        out = torch.ones_like(self.rows, dtype=torch.bool) if self.press_on else ~self.ledger.firm[self.rows]
        if self.limits.queries is not None:
            out = out & (self.ledger.forward[self.rows] < self.limits.queries)
        return out

    def scores(self, z: Batch, where: Tensor | None = None) -> Tensor:
        """Scores (B, K) at z; zeros in rows that are closed or outside `where`, bool (B,)."""
        self._grant(Access.SCORES)
        return self._ask(z, self._due(where))

    def labels(self, z: Batch, where: Tensor | None = None) -> Tensor:
        """Labels int64 (B,) at z; -1 in rows that are closed or outside `where`."""
        rows = self._due(where)
        if self.model.access == Access.LABELS:
            answers = torch.full((len(self.rows),), -1, dtype=torch.int64, device=self.rows.device)
            for part in self._parts(len(rows)):
                points = take(z, rows[part])
                self._pay(rows[part], forward=1)
                found = self.model.ask(points).long()
                at = rows[part]
                self.ledger.note_labels(self.rows[at], points, found, self.goal.take(at), self._near(at))
                answers = answers.index_copy(0, rows[part], found)
            return answers
        return spread(self._ask(z, rows)[rows].argmax(1), rows, len(self.rows), fill=-1)

    def gradient(self, z: Tensor, loss: Loss, goal: Goal | None = None, where: Tensor | None = None) -> Answer:
        """Value, gradient and scores of a loss at z, for one forward and one backward pass a row.

        goal: what the loss is told to climb to (a target class, say); evidence is judged by the oracle's own goal.
        """
        self._grant(Access.GRADIENTS)
        goal = goal or self.goal
        rows = self._due(where)
        count = len(self.rows)
        parts = [self._gradient(z, loss, goal, rows[part], count) for part in self._parts(len(rows))]
        if not parts:
            nothing = torch.zeros(count, device=z.device)
            return Answer(nothing, torch.zeros_like(z), torch.zeros(count, self.model.classes or 1, device=z.device))
        value, grad, scores = parts[0] if len(parts) == 1 else (torch.cat(c) for c in zip(*parts, strict=True))
        if len(rows) == count:
            return Answer(value, grad, scores)
        return Answer(spread(value, rows, count), spread(grad, rows, count), spread(scores, rows, count))

    def propose(self, candidates: Batch, owner: Tensor) -> Proposals:
        """Scores of M candidates, each belonging to a row; for searches that try several points a row at once.

        owner: int64 (M,). Candidates of closed rows, and those beyond a row's budget, are not asked. All candidates of
        one call count, even if an earlier one of the same row already hits.
        """
        self._grant(Access.SCORES)
        asked = self.open[owner]
        if self.limits.queries is not None:
            left = self.limits.queries - self.ledger.forward[self.rows]
            asked = asked & (_turn(owner, asked, len(self.rows)) < left[owner])
        index = asked.nonzero().squeeze(1)
        found = self._answers(take(candidates, index), owner[index])
        if not len(index):
            return Proposals(torch.zeros(len(asked), self.model.classes or 1, device=asked.device), asked)
        return Proposals(spread(found, index, len(asked)), asked)

    def clean_scores(self) -> Tensor:
        """Scores (B, K) at the unperturbed inputs, paid once."""
        self._grant(Access.SCORES)
        if self._clean is None:
            self._clean = self.scores(self.around.x)
        return self._clean

    def _grant(self, needed: Access) -> None:
        if self.model.access < needed:
            raise AccessError(
                f"this attack needs {needed.name.lower()}, but the model {self.model.name} grants only "
                f"{self.model.access.name.lower()}. Choose an attack that works with {self.model.access.name.lower()}."
            )

    def _due(self, where: Tensor | None) -> Tensor:
        return (self.open if where is None else self.open & where).nonzero().squeeze(1)

    def _parts(self, count: int) -> list[slice]:
        return self.model.parts(self.around.x, count)

    def _ask(self, z: Batch, rows: Tensor) -> Tensor:
        everything = len(rows) == len(self.rows)
        found = self._answers(z if everything else take(z, rows), rows)
        if not len(rows):
            return torch.zeros(len(self.rows), self.model.classes or 1, device=self.rows.device)
        return found if everything else spread(found, rows, len(self.rows))

    def _answers(self, points: Batch, local: Tensor) -> Tensor:
        """Scores (R, K) of points that belong to local rows (R,), paid and noted."""
        out = []
        for part in self._parts(len(local)):
            some, at = cut(points, part), local[part]
            self._pay(at, forward=1)
            scores = self.model.ask(
                some.clone() if isinstance(some, Tensor) else some
            )  # a model may write into its input
            self._refuse_labels_beyond(scores)
            self.ledger.note(self.rows[at], some, scores, self.goal.take(at), self._near(at))
            out.append(scores)
        return torch.cat(out) if out else torch.zeros(0, self.model.classes or 1, device=self.rows.device)

    def _gradient(self, z: Tensor, loss: Loss, goal: Goal, local: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        points = (z if len(local) == count else z[local]).detach().requires_grad_()
        self._pay(local, forward=1)
        with torch.enable_grad():
            scores = self.model.answer(points.clone())  # not a leaf, nor the attack's own: a model may write into it
            if not scores.requires_grad:
                raise AccessError(
                    f"no gradient flows through {self.model.name}: its answer is cut off from its input (no_grad, detach, "
                    'argmax or numpy inside). Grant scores only (access="scores"), so that query attacks are used.'
                )
            self._refuse_labels_beyond(scores)
            value = loss(scores, goal.take(local))
            self._pay(local, backward=1)
            with self.model.blamed():
                (grad,) = torch.autograd.grad(value.sum(), points)
        scores = scores.detach()
        self.ledger.note(self.rows[local], points.detach(), scores, self.goal.take(local), self._near(local))
        largest = torch.linalg.vector_norm(grad.flatten(1), ord=float("inf"), dim=1)
        sound = torch.isfinite(largest)
        if not sound.all():
            grad = torch.nan_to_num(grad, nan=0.0, posinf=0.0, neginf=0.0)
            largest = torch.where(sound, largest, grad.flatten(1).abs().amax(1))
        self.ledger.flat.index_add_(0, self.rows[local], (largest == 0).long())
        return value.detach(), grad, scores

    def _refuse_labels_beyond(self, scores: Tensor) -> None:
        if self.ledger.classes == scores.shape[1]:
            return
        self.ledger.classes = scores.shape[1]  # looked at once for all windows on this ledger
        largest = int(self.goal.y.max())
        if self.goal.target is not None:
            largest = max(largest, int(self.goal.target.max()))
        if largest >= scores.shape[1]:
            raise UsageError(
                f"label {largest} is beyond the {scores.shape[1]} classes that {self.model.name} answers with: labels run "
                f"from 0 to {scores.shape[1] - 1}."
            )

    def _pay(self, local: Tensor, forward: int = 0, backward: int = 0) -> None:
        self.ledger.pay(self.rows[local], forward, backward)
        if self._tick:
            self._tick(forward * len(local), backward * len(local))

    def _near(self, local: Tensor) -> Callable[[Tensor], PerturbationSet]:
        """The sets of some of the local rows, made only when there is something to check against them."""
        return lambda index: self.around.take(local[index])


def _turn(owner: Tensor, among: Tensor, count: int) -> Tensor:
    """How many candidates `among` (M,) stand before each one of the same owner (M,), of `count` owners."""
    where = torch.where(among, owner, count)  # what is not among them queues elsewhere
    order = where.argsort(stable=True)
    sizes = torch.bincount(where, minlength=count + 1)
    queue = torch.arange(len(owner), device=owner.device) - (sizes.cumsum(0) - sizes)[where[order]]
    return torch.empty_like(owner).index_copy_(0, order, queue)
