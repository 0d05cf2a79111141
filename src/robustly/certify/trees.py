"""Exact robustness of tree ensembles in a box, by branch and bound over their leaves."""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from robustly.certify.types import Bound, Certifier, abstain
from robustly.core.errors import UsageError
from robustly.core.specs import spec
from robustly.goals import Goal
from robustly.oracle.model import Model
from robustly.oracle.trees import Trees, at_most, trees_of
from robustly.threats.base import Convex, PerturbationSet
from robustly.threats.grid import GridSet

NO_TREES = "its trees have no certificate"
"""How an adapter's note begins that says why it couldn't read the trees."""
AGREES = 1e-5
"""How far, relative to the largest score, the model may answer from its trees before they are taken for others."""


class Pieces(NamedTuple):
    """Groups of boxes, each of which splits the searched box up. low, high: float32 (P, D), low < z <= high. worth: float64
    (P, ...), what a piece adds. group: int64 (P,), rising."""

    low: np.ndarray
    high: np.ndarray
    worth: np.ndarray
    group: np.ndarray

    def take(self, where: np.ndarray) -> Pieces:
        """Some of them."""
        return Pieces(self.low[where], self.high[where], self.worth[where], self.group[where])

    @property
    def starts(self) -> np.ndarray:
        """Where each group begins."""
        return np.flatnonzero(np.r_[True, self.group[1:] != self.group[:-1]])


class Least(NamedTuple):
    """lower: at most the least sum over the box. exact: it is that. nodes: boxes that were looked at."""

    lower: float
    exact: bool
    nodes: int


@spec("certifier", paper="Chen et al. 2019, arXiv:1906.03849; Kantchelian et al. 2016, arXiv:1509.07892", needs="trees")
def trees(nodes: int = 5000, merged: int = 256) -> Certifier:
    """Tree ensembles: the least margin in a box, exact for small ones; a bound where the search is cut short.

    The leaves that a box can reach are merged, tree by tree, into pieces that two or more trees agree on, as long as a group
    has at most `merged` of them (the cliques of Chen et al. 2019); then the best bound is split first, over the pieces of the
    group whose values differ most. It ends when the bound is above 0, when a point inside errs, or after `nodes` boxes
    a rival class, which is counted and not timed so that the answer is the same on every machine. Sets that are no boxes are
    enclosed by theirs.

    Comparisons are those of the library to the last bit (float32 inputs, < or <=). Sums are exact within the library's
    rounding, and a margin inside that is not certified. Members of a set are finite, so ways for missing values aren't taken.

    Raises:
        UsageError: nodes or merged below 1.
    """
    if nodes < 1 or merged < 1:
        raise UsageError(f"nodes and merged are at least 1; got {nodes} and {merged}.")

    def certify(model: Model, around: PerturbationSet, goal: Goal) -> Bound:
        ensemble = trees_of(model)
        inner = around.ball if isinstance(around, GridSet) else around
        if ensemble is None:
            known = [note for note in model.notes if NO_TREES in note]
            return abstain(goal, known[0] if known else f"{model.name} has no trees that can be read")
        if not len(goal) or not isinstance(inner, Convex):
            return abstain(goal, f"no box around a {type(around).__name__}")
        x = inner.x.detach().cpu().flatten(1).numpy().astype(np.float32)
        if x.shape[1] != ensemble.features or not np.isfinite(x).all():
            return abstain(goal, f"its trees read {ensemble.features} finite features, and an input has {x.shape[1]}")
        low, high = (side.detach().cpu().flatten(1).numpy() for side in inner.box())
        found = [_row(ensemble, goal.take(slice(i, i + 1)), low[i], high[i], nodes, merged) for i in range(len(x))]
        other = _differs(ensemble, model.ask_all(inner.x), x)
        why = tuple(
            "its trees do not answer as the model does" if o else w for (_, w), o in zip(found, other, strict=True)
        )
        lower = torch.tensor([v for v, _ in found], dtype=torch.float64, device=goal.y.device)
        lower = torch.where(torch.from_numpy(other).to(lower.device), -torch.inf, lower)
        return Bound(lower, why, 1)

    return certify


def least_margin(
    ensemble: Trees,
    pieces: Pieces,
    first: int,
    second: int,
    nodes: int = 5000,
    merged: int = 256,
    until: tuple[float, float] = (-np.inf, np.inf),
) -> Least:
    """The least of score `first` minus score `second` over what is `reachable`, exact sums in float64."""
    base = float(ensemble.base[first] - ensemble.base[second])
    worth = pieces.worth[:, first] - pieces.worth[:, second]
    return _search(merge(pieces._replace(worth=worth), merged), base, nodes, until)


def reachable(ensemble: Trees, low: np.ndarray, high: np.ndarray) -> Pieces:
    """The leaves that meet a float64 box (D,), in the features in which they differ there."""
    low, high = -at_most(-low), at_most(high)  # the float32 numbers within
    meets = ((ensemble.low < high) & (ensemble.high >= low)).all(1)
    a, b = ensemble.low[meets], ensemble.high[meets]
    varies = ((a >= low) | (b < high)).any(0)
    # beyond the box nothing matters, so that leaves which only differ there have the same sides
    a, b = (side[:, varies] for side in (a, b))
    a, b = np.where(a < low[varies], -np.inf, a), np.where(b >= high[varies], np.inf, b)
    return Pieces(a.astype(np.float32), b.astype(np.float32), ensemble.value[meets], ensemble.tree[meets])


def merge(pieces: Pieces, most: int) -> Pieces:
    """Groups joined two and two, the smallest first, while a joint group has at most `most` pieces; then sums are exact
    within a group."""
    groups = [pieces.take(rows) for rows in np.split(np.arange(len(pieces.group)), pieces.starts[1:])]
    heap = [(len(g.group), i, g) for i, g in enumerate(groups)]
    heapq.heapify(heap)
    done, count = [], len(heap)
    while len(heap) > 1:
        one, other = heapq.heappop(heap)[2], heapq.heappop(heap)[2]
        joint = _joined(one, other, most)
        if joint is None:
            done += [one, other]
        else:
            count += 1
            heapq.heappush(heap, (len(joint.group), count, joint))
    done += [g for _, _, g in heap]
    sizes = [len(g.group) for g in done]
    low, high, worth = (np.concatenate(part) for part in list(zip(*done, strict=True))[:3])
    return Pieces(low, high, worth, np.repeat(np.arange(len(done)), sizes))


def _joined(one: Pieces, other: Pieces, most: int) -> Pieces | None:
    """The pieces of both at once; None for too many."""
    if len(one.group) * len(other.group) > 64 * most:
        return None
    low = np.maximum(one.low[:, None], other.low[None])
    high = np.minimum(one.high[:, None], other.high[None])
    there = (low < high).all(2)
    if there.sum() > most:
        return None
    worth = one.worth[:, None] + other.worth[None]
    return Pieces(low[there], high[there], worth[there], np.zeros(int(there.sum()), dtype=np.int64))


def _search(pieces: Pieces, base: float, nodes: int, until: tuple[float, float]) -> Least:
    """Best first; ends where the bound is above until[1], or a point has at most until[0]."""
    count = 1
    heap = [(_bound(pieces) + base, 0, pieces)]
    while True:
        bound, _, open_ = heapq.heappop(heap)
        if len(open_.group) == len(open_.starts):  # one piece of each group is left: they meet, and this is their sum
            return Least(bound, True, count)
        if bound > until[1] or count >= nodes:
            return Least(bound, False, count)
        if until[0] > -np.inf and _at_a_point(open_) + base <= until[0]:
            return Least(bound, False, count)
        for part in _split(open_):
            count += 1
            heapq.heappush(heap, (max(bound, _bound(part) + base), count, part))


def _bound(pieces: Pieces) -> float:
    """The sum of the least of each group."""
    return float(np.minimum.reduceat(pieces.worth, pieces.starts).sum())


def _split(pieces: Pieces) -> list[Pieces]:
    """One part for every piece of the group whose values differ most: all that meets that piece."""
    starts = pieces.starts
    spread = np.maximum.reduceat(pieces.worth, starts) - np.minimum.reduceat(pieces.worth, starts)
    sizes = np.diff(np.r_[starts, len(pieces.group)])
    chosen = int(np.where(sizes > 1, spread, -1.0).argmax())
    out = []
    for i in range(starts[chosen], starts[chosen] + sizes[chosen]):
        low, high = np.maximum(pieces.low, pieces.low[i]), np.minimum(pieces.high, pieces.high[i])
        meets = (low < high).all(1)
        out.append(Pieces(low[meets], high[meets], pieces.worth[meets], pieces.group[meets]))
    return out


def _at_a_point(pieces: Pieces) -> float:
    """The sum at one point of the box, that in the upper corner of the cheapest piece of all."""
    best = int(pieces.worth.argmin())
    at = pieces.high[best]
    inside = ((pieces.low < at) & (at <= pieces.high)).all(1)
    return float(pieces.worth[inside].sum())


def _row(
    ensemble: Trees, goal: Goal, low: np.ndarray, high: np.ndarray, nodes: int, merged: int
) -> tuple[float, str | None]:
    """A lower bound on the margin of one example, and why it is not above 0.

    Logarithms of probabilities are no closer than the probabilities where those differ by more than 0, so a positive bound
    holds for them too; of others nothing is said.
    """
    pieces = reachable(ensemble, low, high)
    label = int(goal.y if goal.target is None else goal.target)
    rivals = [k for k in range(ensemble.value.shape[1]) if k != label]
    until, found = (-ensemble.error, ensemble.error), []
    for k in rivals:
        first, second = (label, k) if goal.target is None else (k, label)
        found.append(least_margin(ensemble, pieces, first, second, nodes, merged, until))
        decided = found[-1].lower <= ensemble.error
        if decided == (goal.target is None):
            break  # one rival that may win settles an untargeted goal, one that stays ahead a targeted one
    worst = (min if goal.target is None else max)(least.lower for least in found) - ensemble.error
    if worst > 0:
        return worst, None
    cut = [least for least in found if least.nodes >= nodes and least.lower <= ensemble.error and not least.exact]
    told = f"a point of the box is read otherwise, or all but (least margin {worst:.4g} or more)"
    told = f"stopped after {nodes} boxes at the bound {worst:.4g}" if cut else told
    known = not ensemble.log and (len(found) == len(rivals) or goal.target is not None)
    return (worst if known else -np.inf), told


def _differs(ensemble: Trees, answer: Tensor, x: np.ndarray) -> np.ndarray:
    """Bool (B,): does the model answer otherwise than its trees?"""
    own, said = ensemble.scores(x), answer.detach().cpu().double().numpy()
    if ensemble.log:
        said = np.exp(said)
    if said.shape != own.shape:
        return np.ones(len(x), dtype=bool)
    size = AGREES * np.maximum(1.0, np.abs(own).max(1))
    return ~(np.abs(own - said).max(1) <= size)
