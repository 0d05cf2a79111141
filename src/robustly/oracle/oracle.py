"""The only door to a model: it grants access, counts passes, skips what is decided, and keeps the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

import torch
from torch import Tensor

from robustly.core.errors import AccessError, UsageError
from robustly.core.rows import Batch, cut, device_of, spread, take
from robustly.goals import Goal
from robustly.oracle.answers import Answer, Derived, Heads, Hits, Jacobian, Limits, Loss, Proposals
from robustly.oracle.ledger import Ledger
from robustly.oracle.manner import Manner
from robustly.oracle.model import Access, Model
from robustly.oracle.reading import Reading, of_labels, of_scores, pooled
from robustly.oracle.remote import Remote
from robustly.oracle.window import Window, window
from robustly.threats.base import PerturbationSet


class Oracle:
    """One attack's counted window on a model, for one batch.

    Rows that are decided (firm evidence was found) or out of budget are not asked again, unless `press_on`: then only the
    budget stops a row, for attacks that look for the nearest point or the worst. A point becomes evidence only here: asked,
    a member of the set, and meeting the oracle's goal, whatever goal the attack climbs. `tick(forward, backward)` is told of
    passes as they are paid, for progress.

    A model behind a wire may leave rows unanswered: those are closed and nothing is noted of them. What is asked and noted
    is the point as the wire carries it. `ids`: int64, the example number of each row, on whose account it is asked.
    """

    def __init__(
        self,
        model: Model,
        around: PerturbationSet,
        goal: Goal,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        press_on: bool = False,
        clean: Tensor | None = None,
        ledger: Ledger | None = None,
        rows: Tensor | None = None,
        tick: Callable[[int, int], None] | None = None,
        manner: Manner = Manner(),  # noqa: B008 - frozen
        ids: Tensor | None = None,
    ) -> None:
        self.model, self.around, self.goal, self.limits, self.press_on = model, around, goal, limits, press_on
        self.manner, self.ids = manner, ids
        self._clean, self._tick = clean, tick
        self._whole: PerturbationSet = around  # what the ledger's evidence must lie in
        self._windows: tuple[Window, ...] = ()
        self._seen_open = -1  # the ledger's changes when all rows were last seen open
        device = device_of(around.x)
        self.ledger = ledger or Ledger(around.x, device)
        self.rows = torch.arange(len(around), device=device) if rows is None else rows

    def take(self, index: Tensor) -> Oracle:
        """A window on some rows, with the same ledger."""
        out = copy(self)
        out.around, out.goal, out.rows = self.around.take(index), self.goal.take(index), self.rows[index]
        out._whole = out.around if self._whole is self.around else self._whole.take(index)
        out._windows = tuple(w.take(index) for w in self._windows)
        out._clean = None if self._clean is None else self._clean[index]
        out.manner = self.manner.take(index)  # where all rows were seen open, so are these
        return out

    def within(self, around: PerturbationSet) -> tuple[Oracle, Window]:
        """A window on a smaller set around the same rows, and what is found there.

        Passes and evidence land in the same ledger. In the window a row closes as soon as firm evidence inside the
        smaller set exists, even where this oracle presses on.
        """
        out, found = copy(self), window(around, self.rows.device)
        out.around, out._windows, out._seen_open = around, (*self._windows, found), -1
        return out, found

    def asking(self, manner: Manner) -> Oracle:
        """The same rows, asked in another manner: see `Manner`."""
        out = copy(self)
        out.manner = manner
        return out

    @property
    def open(self) -> Tensor:
        """Bool (B,): rows that would be asked."""
        out = torch.ones_like(self.rows, dtype=torch.bool) if self.press_on else ~self.ledger.firm[self.rows]
        for found in self._windows:
            out = out & ~found.firm[found.seats]
        if self.ledger.closed is not None:
            out = out & ~self.ledger.closed[self.rows]
        if self.limits.queries is not None:
            out = out & (self.ledger.forward[self.rows] + self.manner.price <= self.limits.queries)
        return out

    @property
    def all_open(self) -> bool:
        """Would every row be asked? Looks at the rows only where evidence came in since it was last so."""
        return self.still_open() is None

    def still_open(self) -> Tensor | None:
        """The indices of the rows that would be asked, int64 (R,); None where that is every one, at one look or none."""
        settled = (self.press_on and not self._windows) or self._seen_open == self.ledger.changes
        if settled and self.limits.queries is None and self.ledger.closed is None:
            return None
        index = _indices(self.open)
        if len(index) < len(self.rows):
            return index
        self._seen_open = self.ledger.changes
        return None

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
                at = rows[part]
                points = self._carried(take(z, at), at)
                found, heard = self._several(points, at)
                self._note_heard(at, points, pooled([of_labels(labels, self.goal.take(at)) for labels in found]), heard)
                said = found[0] if len(found) == 1 else torch.stack(found).mode(0).values
                answers = answers.index_copy(0, at, said if heard is None else torch.where(heard, said, -1))
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
            return Answer(nothing, torch.zeros_like(z), torch.zeros(count, self._classes, device=z.device))
        value, grad, scores = parts[0] if len(parts) == 1 else (torch.cat(c) for c in zip(*parts, strict=True))
        if len(rows) == count:
            return Answer(value, grad, scores)
        return Answer(spread(value, rows, count), spread(grad, rows, count), spread(scores, rows, count))

    def jacobian(self, z: Tensor, labels: Tensor, where: Tensor | None = None) -> Jacobian:
        """Scores at z and the gradients of some of them, for one forward and T backward passes a row.

        labels: int64 (B, T), the scores z_k to differentiate, a row its own. One graph serves all T passes.
        """
        self._grant(Access.GRADIENTS)
        rows, count = self._due(where), len(self.rows)
        parts = [self._jacobian(z, labels, rows[part], count) for part in self._parts(len(rows))]
        if not parts:
            nothing = z.new_zeros(count, labels.shape[1], *z.shape[1:])
            return Jacobian(torch.zeros(count, self._classes, device=z.device), nothing)
        scores, grads = parts[0] if len(parts) == 1 else (torch.cat(c) for c in zip(*parts, strict=True))
        if len(rows) == count:
            return Jacobian(scores, grads)
        return Jacobian(spread(scores, rows, count), spread(grads, rows, count))

    def propose(self, candidates: Batch, owner: Tensor) -> Proposals:
        """Scores of M candidates, each belonging to a row; for searches that try several points a row at once.

        owner: int64 (M,). Candidates of closed rows, and those beyond a row's budget, are not asked. All candidates of
        one call count, even if an earlier one of the same row already hits.
        """
        self._grant(Access.SCORES)
        asked = self._affordable(owner)
        index = asked.nonzero().squeeze(1)
        found, heard = self._answers(take(candidates, index), owner[index])
        if not len(index):
            return Proposals(torch.zeros(len(asked), self._classes, device=asked.device), asked)
        return Proposals(spread(found, index, len(asked)), asked if heard is None else _among(heard, index, asked))

    def hits(self, candidates: Batch, owner: Tensor) -> Hits:
        """Which of M candidates meet the goal, each belonging to a row: all that an attack on labels alone may see.

        owner: int64 (M,). Candidates of closed rows, and those beyond a row's budget, are not asked.
        """
        asked = self._affordable(owner)
        index = asked.nonzero().squeeze(1)
        met = torch.zeros_like(asked)
        for part in self._parts(len(index)):
            some, at = index[part], owner[index[part]]
            points = self._carried(take(candidates, some), at)
            found, heard = self._several(points, at)
            reading = pooled([self._read(answer, self.goal.take(at)) for answer in found])
            self._note_heard(at, points, reading, heard)
            met[some] = reading.met if heard is None else reading.met & heard
            if heard is not None:
                asked[some] = heard
        return Hits(met, asked)

    def clean_scores(self) -> Tensor:
        """Scores (B, K) at the unperturbed inputs, paid once."""
        self._grant(Access.SCORES)
        if self._clean is None:
            self._clean = self.scores(self.around.x)
        return self._clean

    @property
    def _classes(self) -> int:
        """How many scores an answer has, as far as known: at least one for every label, so that zeros can stand for it."""
        known = self.model.classes or self.ledger.classes
        if known:
            return known
        labels = [t for t in (self.goal.y, self.goal.target) if t is not None and len(t)]
        return max([2, *(int(t.max()) + 1 for t in labels)])

    def _grant(self, needed: Access) -> None:
        if self.model.access < needed:
            raise AccessError(
                f"this attack needs {needed.name.lower()}, but the model {self.model.name} grants only "
                f"{self.model.access.name.lower()}. Choose an attack that works with {self.model.access.name.lower()}."
            )

    def _affordable(self, owner: Tensor) -> Tensor:
        """Which candidates of these owners (M,) would be asked: those of open rows, within what their budget leaves."""
        asked = self.open[owner]
        if self.limits.queries is None:
            return asked
        left = (self.limits.queries - self.ledger.forward[self.rows]) // self.manner.times
        return asked & (_turn(owner, asked, len(self.rows)) < left[owner])

    def _due(self, where: Tensor | None) -> Tensor:
        index = self.still_open()
        if index is None:
            return torch.arange(len(self.rows), device=self.rows.device) if where is None else _indices(where)
        return index if where is None else index[where[index]]

    def _parts(self, count: int) -> list[slice]:
        return self.model.parts(self.around.x, count)

    def _ask(self, z: Batch, rows: Tensor) -> Tensor:
        everything = len(rows) == len(self.rows)
        found, _ = self._answers(z if everything else take(z, rows), rows)
        if not len(rows):
            return torch.zeros(len(self.rows), self._classes, device=self.rows.device)
        return found if everything else spread(found, rows, len(self.rows))

    def _answers(self, points: Batch, local: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scores (R, K) of points that belong to local rows (R,), paid and noted, and which were heard: None for all."""
        out: list[Tensor] = []
        heard: list[Tensor | None] = []
        for part in self._parts(len(local)):
            at = local[part]
            some = self._carried(cut(points, part), at)
            found, given = self._several(some, at)
            self._note_heard(at, some, pooled([of_scores(scores, self.goal.take(at)) for scores in found]), given)
            out.append(_mean(found))
            heard.append(given)
        everyone = None if all(one is None for one in heard) else torch.cat([one for one in heard if one is not None])
        return (torch.cat(out) if out else torch.zeros(0, self._classes, device=self.rows.device)), everyone

    def _carried(self, points: Batch, local: Tensor) -> Batch:
        """The points as they will be read on the other side of a wire; in the end it is these that are asked and noted."""
        remote = self.model.remote
        return points if remote is None else remote.carried(points, self._whole.take(local))

    def _several(self, points: Batch, local: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """As many answers to each point as the manner says, scores or labels; and which points were heard each time."""
        found, heard = [], None
        for _ in range(self.manner.times):
            answers, given = self._asked(points, local)
            found.append(answers)
            heard = given if heard is None else heard if given is None else heard & given
        return found, heard

    def _asked(self, points: Batch, local: Tensor) -> tuple[Tensor, Tensor | None]:
        """One answer to each point, paid; and which were heard, None where every question is."""
        if self.model.remote is not None:
            return self._asked_afar(points, local, self.model.remote)
        self._pay(local, forward=1)
        answers = self.model.ask(points.clone() if isinstance(points, Tensor) else points)  # a model may write into it
        if self.model.access == Access.LABELS:
            return answers.long(), None
        self._refuse_labels_beyond(answers)
        return answers, None

    def _asked_afar(self, points: Batch, local: Tensor, remote: Remote) -> tuple[Tensor, Tensor]:
        rows = self.rows[local]
        left = None if self.limits.queries is None else self.limits.queries - self.ledger.forward[rows]
        replies = remote.ask(points, rows if self.ids is None else self.ids[rows], left, self.limits.held)
        self.ledger.pay_each(rows, replies.spent)
        self.ledger.shut_out(rows, replies.why)
        if self._tick:
            self._tick(int(replies.spent.sum()), 0)
        if self.model.access == Access.LABELS:
            return remote.named(replies.answers), replies.answered
        if replies.answered.any():
            self._refuse_labels_beyond(replies.answers)
        return replies.answers, replies.answered

    def _read(self, answers: Tensor, goal: Goal) -> Reading:
        """The reading of one answer a row, whatever the model gives."""
        return of_labels(answers, goal) if self.model.access == Access.LABELS else of_scores(answers, goal)

    def _note_heard(self, local: Tensor, points: Batch, reading: Reading, heard: Tensor | None) -> None:
        """Note the points that were answered."""
        if heard is None or bool(heard.all()):
            self._note(local, points, reading)
            return
        index = heard.nonzero().squeeze(1)
        if len(index):
            self._note(local[index], take(points, index), Reading(*(part[index] for part in reading)))

    def _gradient(self, z: Tensor, loss: Loss, goal: Goal, local: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        goal = goal.take(local)
        scores, values, grads = self._averaged(z, local, count, lambda scores: loss(scores, goal)[:, None])
        return values[:, 0], grads[0], scores

    def _jacobian(self, z: Tensor, labels: Tensor, local: Tensor, count: int) -> tuple[Tensor, Tensor]:
        labels = labels[local]
        scores, _, grads = self._averaged(z, local, count, lambda scores: scores.gather(1, labels))
        return scores, torch.stack(grads, 1)

    def _averaged(self, z: Tensor, local: Tensor, count: int, heads: Heads) -> Derived:
        """Values and gradients averaged over the noise of the manner; the scores are those at z itself."""
        points = (z if len(local) == count else z[local]).detach()
        found = [self._expected(points, local, heads)]
        noise = self.manner.noise
        if noise is not None:
            drawn = noise.key_at(local, self.ledger.backward[self.rows[local]])
            around = self.around.take(local)
            found += [self._expected(noise.near(around, points, drawn, i), local, heads) for i in range(1, noise.times)]
        return found[0] if len(found) == 1 else _pool(found)._replace(scores=found[0].scores)

    def _expected(self, points: Tensor, local: Tensor, heads: Heads) -> Derived:
        """The same averaged over the answers of a random model; what most of them say is noted."""
        found = [self._derived(points, local, heads) for _ in range(self.manner.times)]
        self._note(local, points, pooled([of_scores(one.scores, self.goal.take(local)) for one in found]))
        return found[0] if len(found) == 1 else _pool(found)

    def _derived(self, points: Tensor, local: Tensor, heads: Heads) -> Derived:
        """One forward pass of the points (R, ...), and a backward pass for each of the T values heads(scores), (R, T)."""
        points = points.detach().requires_grad_()
        scores = self._traced(points, local)
        with torch.enable_grad():
            values = heads(scores)
        last = values.shape[1] - 1
        grads = [self._slope(values[:, t], points, local, again=t < last) for t in range(last + 1)]
        return Derived(scores.detach(), values.detach(), grads)

    def _traced(self, points: Tensor, local: Tensor) -> Tensor:
        """Scores of points with the graph that leads back to them; a forward pass."""
        self._pay(local, forward=1)
        with torch.enable_grad():
            scores = self.model.answer(points.clone())  # not a leaf, nor the attack's own: a model may write into it
        if not scores.requires_grad:
            raise self._cut_off()
        self._refuse_labels_beyond(scores)
        return scores

    def _slope(self, value: Tensor, points: Tensor, local: Tensor, again: bool = False) -> Tensor:
        """The gradient of value (R,) at the points, finite; a backward pass. again: the graph is kept for another."""
        self._pay(local, backward=1)
        with self.model.blamed():
            (grad,) = torch.autograd.grad(value.sum(), points, retain_graph=again, allow_unused=True)
        if grad is None:  # the scores have a graph, but that of the weights alone
            raise self._cut_off()
        largest = grad.flatten(1).abs().amax(1)  # as vector_norm gives it, several times as fast; NaN comes through
        sound = torch.isfinite(largest)
        if grad.is_cuda or not sound.all():  # a look costs more than the repair where it must wait for the device
            grad = torch.nan_to_num(grad, nan=0.0, posinf=0.0, neginf=0.0)
            largest = torch.where(sound, largest, grad.flatten(1).abs().amax(1))
        self.ledger.flat.index_add_(0, self.rows[local], (largest == 0).long())
        return grad

    def _note(self, local: Tensor, points: Batch, reading: Reading) -> None:
        self.ledger.note(self.rows[local], points, reading, self._near(local), self.manner.times)
        for found in self._windows:
            found.note(local, points, reading)

    def _cut_off(self) -> AccessError:
        return AccessError(
            f"no gradient flows through {self.model.name}: its answer is cut off from its input (no_grad, detach, "
            'argmax or numpy inside). Grant scores only (access="scores"), so that query attacks are used.'
        )

    def _refuse_labels_beyond(self, scores: Tensor) -> None:
        if scores.dim() == 2 and self.ledger.classes == scores.shape[1]:
            return
        if scores.dim() != 2 or scores.shape[1] < 2:
            raise UsageError(
                f"{self.model.name} answers the shape {tuple(scores.shape)}; scores (B, K) of at least 2 classes are wanted."
            )
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
        return lambda index: self._whole.take(local[index])


def _among(heard: Tensor, index: Tensor, asked: Tensor) -> Tensor:
    """Which of all candidates were heard, where `heard` is about those at `index`."""
    return torch.zeros_like(asked).index_copy_(0, index, heard)


def _indices(among: Tensor) -> Tensor:
    return among.nonzero().squeeze(1)


def _mean(several: Sequence[Tensor]) -> Tensor:
    return several[0] if len(several) == 1 else torch.stack(list(several)).mean(0)


def _pool(found: Sequence[Derived]) -> Derived:
    grads = [_mean(same) for same in zip(*(one.grads for one in found), strict=True)]
    return Derived(_mean([one.scores for one in found]), _mean([one.values for one in found]), grads)


def _turn(owner: Tensor, among: Tensor, count: int) -> Tensor:
    """How many candidates `among` (M,) stand before each one of the same owner (M,), of `count` owners."""
    where = torch.where(among, owner, count)  # what is not among them queues elsewhere
    order = where.argsort(stable=True)
    sizes = torch.bincount(where, minlength=count + 1)
    queue = torch.arange(len(owner), device=owner.device) - (sizes.cumsum(0) - sizes)[where[order]]
    return torch.empty_like(owner).index_copy_(0, order, queue)
