"""Substitutes: a model with gradients learnt from another's own answers, within a hard budget of queries."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from robustly.adapters.modules import from_module
from robustly.adapters.pupils import Centred, pupil, taught
from robustly.core.errors import UsageError
from robustly.oracle.model import Access, Model


@dataclass(frozen=True)
class Learnt:
    """What was learnt. model: gives gradients. queries: examples the target was asked, in all; never more than granted.

    agreement: share of the examples asked that the substitute reads as the target does. rounds: of asking and learning.
    """

    model: Model
    queries: int
    agreement: float
    rounds: int


class Door:
    """The one counted way to the target: labels or scores of some rows, and never more than `limit` rows in all."""

    def __init__(self, target: Model, limit: int) -> None:
        if limit < 1:
            raise UsageError(f"queries must be at least 1, got {limit}.")
        self.target, self.limit, self.spent = target, limit, 0

    @property
    def left(self) -> int:
        """How many rows may still be asked."""
        return self.limit - self.spent

    def answers(self, x: Tensor) -> Tensor:
        """What the target says of x (R, ...): scores (R, K), or labels (R,) where it gives no more.

        The rows are paid before they are asked, so that a target that raises has been paid too.

        Raises:
            UsageError: more rows than are left; nothing was asked.
        """
        if len(x) > self.left:
            raise UsageError(f"{len(x)} queries wanted, but only {self.left} of {self.limit} are left.")
        self.spent += len(x)
        return self.target.ask_all(x.to(self.target.device).clone()).cpu()


def substitute(
    target: Model,
    seeds: Tensor,
    queries: int,
    *,
    classes: int | None = None,
    size: float = 0.1,
    rounds: int = 6,
    epochs: int = 20,
    seed: int = 0,
) -> Learnt:
    """A substitute from few inputs of one's own, grown by moves along its own Jacobian (Papernot et al. 2017).

    Each round asks the target about the inputs that are new, trains a fresh network on all answers, and adds for each input
    x the point x + size * sign(dF_l / dx), with the gradient of the substitute F's score of the label l that the target gave
    (arXiv:1602.02697, section 4.2, eq. 5; the sign of `size` alternates by round, section 5.3). Where the budget has room for
    fewer, a random part of them is asked (their reservoir sampling). Only labels are used, whatever the target gives.

    Args:
        target: the model to learn from.
        seeds: inputs (S, ...) in its range, which are asked first; of more than `queries` the first so many.
        queries: the most examples that the target is ever asked.
        classes: how many it has, where it doesn't say.
        size: lambda, as a share of the width of the range.
        rounds: at most so many.
        epochs: over all answers, each round.
        seed: of weights and draws; the same seed learns the same network.

    Raises:
        UsageError: queries, rounds or epochs < 1, no seeds, classes unknown.
    """
    door, x = Door(target, queries), _seeds(seeds)[:queries]
    _refuse_none(rounds=rounds, epochs=epochs)
    count = _classes(target, classes)
    rng = torch.Generator().manual_seed(seed)
    labels = _labels(door.answers(x))
    width = _width(target)
    name, done = f"substitute of {target.name}", 0

    def learnt() -> Model:
        net, centre = _trained(x, _certain(labels, count), epochs, seed + done, target)
        return _model(net, centre, target, count, name)

    model = learnt()
    for done in range(1, rounds):
        room = min(door.left, len(x))
        if not room:
            return Learnt(model, door.spent, _agreement(model, x, labels), done)
        chosen = torch.randperm(len(x), generator=rng)[:room].sort().values
        step = size * width * (1 if done % 2 else -1)
        fresh = x[chosen] + step * _slope(model, x[chosen], labels[chosen]).sign()
        fresh = fresh.clamp(target.domain.low, target.domain.high)
        x, labels = torch.cat((x, fresh)), torch.cat((labels, _labels(door.answers(fresh))))
        model = learnt()
    return Learnt(model, door.spent, _agreement(model, x, labels), rounds)


def knockoff(
    target: Model, pool: Tensor, queries: int, *, classes: int | None = None, epochs: int = 40, seed: int = 0
) -> Learnt:
    """A substitute from the target's answers on inputs from anywhere (Orekondy, Schiele & Fritz 2019, random strategy).

    A random part of the pool is asked, and a network is trained on the probabilities that the target gives, or on its labels
    where it gives no more (arXiv:1812.02766, section 4.1.1 and eq. 1; their other strategy, which learns what to ask, is not
    here).

    Args:
        target: the model to learn from.
        pool: inputs (P, ...) in its range; of more than `queries` a random part is asked.
        queries: the most examples that the target is ever asked.
        classes: how many it has, where it doesn't say.
        epochs: over all answers.
        seed: of weights and draws; the same seed learns the same network.

    Raises:
        UsageError: queries or epochs < 1, an empty pool, classes unknown.
    """
    door, pool = Door(target, queries), _seeds(pool)
    _refuse_none(epochs=epochs)
    rng = torch.Generator().manual_seed(seed)
    x = pool[torch.randperm(len(pool), generator=rng)[:queries].sort().values]
    answers = door.answers(x)
    scored = target.access > Access.LABELS
    count = answers.shape[1] if scored else _classes(target, classes)
    wanted = torch.softmax(answers.float(), 1) if scored else _certain(answers, count)
    net, centre = _trained(x, wanted, epochs, seed, target)
    model = _model(net, centre, target, count, f"knockoff of {target.name}")
    return Learnt(model, door.spent, _agreement(model, x, _labels(answers)), 1)


def _trained(x: Tensor, wanted: Tensor, epochs: int, seed: int, target: Model) -> tuple[nn.Sequential, Centred]:
    centre = Centred(x.mean(0, keepdim=True), _width(target))
    net = pupil(tuple(x.shape[1:]), wanted.shape[1], seed)
    taught(net, centre(x), wanted, epochs, seed)
    return net, centre


def _model(net: nn.Sequential, centre: Centred, target: Model, classes: int, name: str) -> Model:
    whole = nn.Sequential(centre, *net).to(target.device).eval()
    return replace(from_module(whole, name=name), domain=target.domain, classes=classes, labels=target.labels)


def _slope(model: Model, x: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the score of each label at x; passes of the substitute, which are free."""
    point = x.to(model.device).requires_grad_()
    with torch.enable_grad():
        value = model.answer(point).gather(1, labels.to(model.device)[:, None]).sum()
    return torch.autograd.grad(value, point)[0].cpu()


def _labels(answers: Tensor) -> Tensor:
    return answers.long() if answers.dim() == 1 else answers.argmax(1)


def _certain(labels: Tensor, classes: int) -> Tensor:
    """Labels as probabilities; an answer that is no label (-1: a tie, or not finite) teaches nothing: uniform."""
    out = torch.full((len(labels), classes), 1 / classes)
    known = (labels >= 0) & (labels < classes)
    out[known] = nn.functional.one_hot(labels[known], classes).float()
    return out


def _agreement(model: Model, x: Tensor, labels: Tensor) -> float:
    return float((model.ask_all(x.to(model.device)).argmax(1).cpu() == labels).double().mean())


def _width(target: Model) -> float:
    width = target.domain.high - target.domain.low
    return width if math.isfinite(width) else 1.0


def _classes(target: Model, classes: int | None) -> int:
    count = classes or target.classes
    if not count or count < 2:
        raise UsageError(f"how many classes {target.name} has isn't known: say classes=10 or so.")
    return count


def _seeds(x: Tensor) -> Tensor:
    if not isinstance(x, Tensor) or not len(x):
        raise UsageError(
            "a substitute is learnt from some inputs of one's own: give a tensor (N, ...) with at least one."
        )
    if not torch.isfinite(x).all():
        raise UsageError(f"input {int((~torch.isfinite(x.flatten(1)).all(1)).nonzero()[0])} is not finite.")
    return x.detach().float().cpu()


def _refuse_none(**counts: int) -> None:
    for what, count in counts.items():
        if count < 1:
            raise UsageError(f"{what} must be at least 1, got {count}.")
