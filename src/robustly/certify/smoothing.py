"""Certificates of smoothed classifiers, by counting votes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.certify.reach import reach
from robustly.certify.types import Bound, Certifier, abstain
from robustly.core.errors import UsageError
from robustly.core.specs import spec
from robustly.goals import Goal
from robustly.oracle.model import Model
from robustly.oracle.smoothing import Smoothing, refuse_scale, smoothing_of
from robustly.steps.binomial import check_alpha, lower_bound, lower_bound_at_any_time, trials_needed
from robustly.steps.noises import Noise
from robustly.threats.base import PerturbationSet

HOPELESS = 0.01
"""A sequential certificate gives up once it would be reached with a probability below this; which proves nothing."""


class Ballot(NamedTuple):
    """What the votes on one input say. label: the class chosen, -1 for none. hits: its votes among `trials` others, drawn
    independently of the choice. share: a lower bound on its probability under the noise. draws: base passes in all."""

    label: int
    hits: int
    trials: int
    share: float
    draws: int


class Radii(NamedTuple):
    """label: int64 (B,), -1 where it abstains. radius: float64 (B,), in the noise's norm and input units; 0 there."""

    label: Tensor
    radius: Tensor


@spec("certifier", paper="Cohen et al. 2019, arXiv:1902.02918", needs="votes")
def smoothing(n0: int = 100, n: int = 10_000, alpha: float = 0.001, examples: int | None = None) -> Certifier:
    """Randomised smoothing: a smoothed model's class, proven with probability 1 - alpha by n votes.

    CERTIFY of the paper: n0 votes choose a class, n others, independent of them, bound its probability p from below by
    Clopper and Pearson's exact bound at alpha / examples; the class holds while the input moves by less than the noise's
    radius of p. The bound on the margin is 2 p(r) - 1 with p(r) the least that p can become within the set.

    examples: over how many alpha is divided, so that all their certificates hold at once with probability 1 - alpha. An
    audit fills in the number of its examples; 1 makes alpha that of each example, as the paper's tables have it.

    Raises:
        UsageError: an alpha that is no small probability; an n that can certify nothing, with the n that can.
    """
    level = _level(n0, n, alpha, examples)

    def ballot(smoothed: Smoothing, x: Tensor, goal: Goal, distance: float) -> Ballot:
        return _elected(smoothed, x, goal, n0) or _counted(smoothed, x, n0, n, level)

    return _certifier(ballot, n, level)


@spec("certifier", paper="Cohen et al. 2019; Waudby-Smith & Ramdas 2024, arXiv:2010.09686", needs="votes")
def smoothing_early(
    n0: int = 100, n: int = 100_000, alpha: float = 0.001, examples: int | None = None, step: int = 100
) -> Certifier:
    """The same by a sequential test, which counts no longer than it takes: at most n votes.

    After `step` votes, twice as many, and so on, p is bounded from below by a confidence sequence, which holds at all times
    at once and so may be stopped by what it says; see `steps.binomial.lower_bound_at_any_time`. Counting ends when the
    set is certified, or when it hardly could be any more. All sizes of a sweep are certified by the same votes, so alpha is
    spent once.

    Raises:
        UsageError: as `smoothing`, and a step below 1.
    """
    level = _level(n0, n, alpha, examples)
    if step < 1:
        raise UsageError(f"step is a number of votes, at least 1; got {step}.")

    def ballot(smoothed: Smoothing, x: Tensor, goal: Goal, distance: float) -> Ballot:
        return _elected(smoothed, x, goal, n0) or _sequential(smoothed, x, n0, n, step, level, distance)

    return _certifier(ballot, n, level)


def radii(
    model: Model, x: Tensor, *, n0: int = 100, n: int = 100_000, alpha: float = 0.001, examples: int = 1
) -> Radii:
    """The class of the smoothed classifier at inputs x (B, ...) and the radius within which it doesn't change.

    CERTIFY of Cohen et al. 2019; each radius is wrong with probability at most alpha / examples.

    Raises:
        UsageError: as `smoothing`; the model isn't a smoothed one, or sigma is in another scale than its range.
    """
    level, smoothed = _level(n0, n, alpha, examples), smoothing_of(model)
    if smoothed is None:
        raise UsageError(f"{model.name} is no smoothed model: make one with robustly.smooth(model, sigma=...).")
    refuse_scale(model)
    found = [_counted(smoothed, row, n0, n, level) for row in x]
    share = torch.tensor([b.share for b in found], dtype=torch.float64)
    radius = noise_of(smoothed).radius(share)
    label = torch.tensor([b.label for b in found], dtype=torch.int64)
    return Radii(torch.where(share > 0.5, label, -1), radius)


def noise_of(smoothed: Smoothing) -> Noise:
    """The noise with what certifiers need of it."""
    return smoothed.noise  # type: ignore[return-value]


def _certifier(ballot: Callable[[Smoothing, Tensor, Goal, float], Ballot], n: int, level: float) -> Certifier:
    def certify(model: Model, around: PerturbationSet, goal: Goal) -> Bound:
        smoothed = smoothing_of(model)
        if smoothed is None:
            return abstain(goal, "smoothing certifies smoothed models alone: robustly.smooth(model, sigma=...)")
        if not len(goal):
            return abstain(goal, "")
        refuse_scale(model)
        noise = noise_of(smoothed)
        distance = reach(around, noise.norm)
        if distance is None:
            return abstain(
                goal,
                f"{noise.name} noise certifies sets of numbers around an input, and this is of kind {type(around).__name__}",
            )
        few = _too_few(noise, float(distance.min()), n, level)
        if few:
            return abstain(goal, few)
        rows = [
            _row(noise, ballot(smoothed, around.x[i], goal.take(slice(i, i + 1)), far), goal.take(slice(i, i + 1)), far)
            for i, far in enumerate(distance.tolist())
        ]
        spent = torch.tensor([-(-draws // smoothed.votes) for _, _, draws in rows], device=goal.y.device)
        lower = torch.tensor([low for low, _, _ in rows], dtype=torch.float64, device=goal.y.device)
        return Bound(lower, tuple(why for _, why, _ in rows), int(spent.max()), spent)

    return certify


def _row(noise: Noise, found: Ballot, goal: Goal, distance: float) -> tuple[float, str | None, int]:
    """A lower bound on the margin, why it is not above 0, and base passes."""
    if not _right(found.label, goal):
        said = "no class" if found.label < 0 else f"class {found.label}"
        return -math.inf, f"most votes of the smoothed model are for {said}", found.draws
    share = torch.tensor(found.share, dtype=torch.float64)
    lower = 2 * float(noise.after(share, torch.tensor(distance, dtype=torch.float64))) - 1 - 1e-12
    if lower > 0:
        return lower, None, found.draws
    radius = float(noise.radius(share))
    told = f"{found.hits} of {found.trials} votes are for class {found.label}: its probability is at least {found.share:.4g}"
    return lower, f"{told}, which holds up to {noise.norm} {radius:.4g}, short of {distance:.4g}", found.draws


def _right(label: int, goal: Goal) -> bool:
    """Does that class, if it holds more than half of the votes, keep the goal from being met?"""
    return label >= 0 and not bool(goal.met_by_labels(torch.tensor([label], device=goal.y.device)))


def _elected(smoothed: Smoothing, x: Tensor, goal: Goal, n0: int) -> Ballot | None:
    """Where the class that n0 votes choose is not one to certify, that is all there is to say."""
    label = _chosen(smoothed, x, n0)
    return None if _right(label, goal) else Ballot(label, 0, 0, 0.0, n0)


def _chosen(smoothed: Smoothing, x: Tensor, n0: int) -> int:
    return int(smoothed.counts(x, "select", n0).argmax()) - 1


def _hits(smoothed: Smoothing, x: Tensor, label: int, stop: int, start: int = 0) -> int:
    counts = smoothed.counts(x, "certify", stop, start)
    return int(counts[label + 1]) if label + 1 < len(counts) else 0


def _counted(smoothed: Smoothing, x: Tensor, n0: int, n: int, level: float) -> Ballot:
    label = _chosen(smoothed, x, n0)
    if label < 0:
        return Ballot(label, 0, 0, 0.0, n0)
    hits = _hits(smoothed, x, label, n)
    return Ballot(label, hits, n, lower_bound(hits, n, level), n0 + n)


def _sequential(smoothed: Smoothing, x: Tensor, n0: int, n: int, step: int, level: float, distance: float) -> Ballot:
    noise, label = noise_of(smoothed), _chosen(smoothed, x, n0)
    needed = float(noise.needed(torch.tensor(distance, dtype=torch.float64)))
    hits = trials = 0
    stop = min(step, n)
    while True:
        hits, trials = hits + _hits(smoothed, x, label, stop, trials), stop
        share = lower_bound_at_any_time(hits, trials, level)
        likely = 1 - lower_bound_at_any_time(trials - hits, trials, HOPELESS)
        if trials == n or share > needed + 1e-9 or likely < needed:
            return Ballot(label, hits, trials, share, n0 + trials)
        stop = min(2 * stop, n)


def _level(n0: int, n: int, alpha: float, examples: int | None) -> float:
    check_alpha(alpha)
    if n0 < 1 or (examples is not None and examples < 1):
        raise UsageError(f"n0 and examples are at least 1; got n0={n0}, examples={examples}.")
    level = alpha / (examples or 1)
    least = trials_needed(0.5, level)
    if n < least:
        raise UsageError(
            f"n={n} votes can certify nothing at alpha {alpha:g} over {examples or 1} examples, even if all are for one class: "
            f"take n of {least} or more, say 10000."
        )
    return level


def _too_few(noise: Noise, distance: float, n: int, level: float) -> str:
    """Why n votes, all for one class, could not certify even the smallest of these sets; "" if they could."""
    needed = float(noise.needed(torch.tensor(distance, dtype=torch.float64)))
    at_least = trials_needed(needed, level)
    if n >= at_least:
        return ""
    best = float(noise.radius(torch.tensor(lower_bound(n, n, level), dtype=torch.float64)))
    more = f"n of {at_least:,} or more, or a larger sigma" if at_least < 10**9 else "a larger sigma"
    return (
        f"n={n} votes, all for one class, hold up to {noise.norm} {best:.4g}, short of {distance:.4g}: it takes {more}"
    )
