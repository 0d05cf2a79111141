"""One change for many inputs: the universal adversarial perturbation."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.keys import fold, permutation
from robustly.steps import Case
from robustly.steps.counts import at_least_one
from robustly.steps.hyperplane import Bounds, onto_plane, order_of, widest
from robustly.threats import L1, L2, Linf
from robustly.threats.ball import Ball


class Universal(NamedTuple):
    """change: one change (...), of the shape of an input. fooled: bool (B,), the inputs whose goal it meets."""

    change: Tensor
    fooled: Tensor

    @property
    def rate(self) -> float:
        """The share of the inputs that it fools."""
        return self.fooled.double().mean().item()


def universal(case: Case, times: int = 10, steps: int = 10, share: float = 0.8, overshoot: float = 0.02) -> Universal:
    """Look for one change within the set's radius that makes most inputs of the case meet the goal.

    Moosavi-Dezfooli et al. 2017, arXiv:1610.08401, algorithm 1: go through the inputs in random order; where the change
    v leaves one unfooled, add the least further change that fools it (DeepFool, arXiv:1511.04599, at most `steps`
    linearisations), and project v back onto the ball; after each round ask how many v fools, and stop at the share
    wanted or after `times` rounds. The best v of all rounds is returned.

    This is a function and no attack of the registry. v depends on every input of the case, so the law that an example
    fares the same alone as in any batch can't hold of it; and it doesn't answer the question of an audit, since an input
    that v leaves alone may well be breakable. What it finds on the way is evidence all the same, input by input.
    Costs a forward pass an input and round, twice, and up to `steps` more with K backward passes each where v fails.

    Args:
        case: with one eps for all rows, in a linf, l2 or l1 ball, and an oracle that presses on.
        overshoot: how much farther than the linearised border each change goes, as a share of it.

    Raises:
        UsageError: times or steps < 1, share not in (0, 1], overshoot < 0, a targeted goal, another set, several eps or
            an infinite one, or an oracle that drops an input at its first evidence.
    """
    _check(case, times, steps, share, overshoot)
    around = cast(Ball, case.around)
    ball, best = _around_zero(around), None
    change = torch.zeros_like(around.x[:1])
    for index in range(times):
        for row in permutation(fold(case.key[:1], index), len(case.key))[0].tolist():
            more = least_change(case.take(torch.tensor([row], device=case.key.device)), change, steps, overshoot)
            change = ball.project(change + more)
        found = Universal(change[0], _fooled(case, change))
        if best is None or found.rate > best.rate:
            best = found
        if best.rate >= share:
            break
    assert best is not None
    return best


def least_change(case: Case, change: Tensor, steps: int, overshoot: float) -> Tensor:
    """What to add to the change (1, ...) so that it fools the one input of the case; 0 where it does already."""
    around = cast(Ball, case.around)
    begun = around.project(around.x + change)
    z = begun
    if case.oracle.goal.met(case.oracle.scores(z)).all():
        return torch.zeros_like(change)
    own, within = case.goal.y[:, None], widest(around)
    for _ in range(steps):
        labels = torch.arange(case.oracle.clean_scores().shape[1], device=z.device)[None]
        scores, slopes = case.oracle.jacobian(z, labels)
        if case.oracle.goal.met(scores).all():
            break
        z = z + (1 + overshoot) * _to_nearest(z, scores, slopes, own, within)
        z = within.clip(z)
    return z - begun


def _to_nearest(z: Tensor, scores: Tensor, slopes: Tensor, own: Tensor, within: Bounds) -> Tensor:
    """The least l2 change of the one row onto the nearest linearised border with another class."""
    values = torch.nan_to_num(scores - scores.gather(1, own))
    slopes = slopes - slopes[:, own[0, 0]][:, None]
    steep = slopes.flatten(2).norm(dim=2)
    nearest = (values.abs() / steep.clamp_min(1e-30)).scatter(1, own, torch.inf).argmin(1)[0]
    return onto_plane(z, values[:, nearest], slopes[:, nearest], within, 2.0)


def _fooled(case: Case, change: Tensor) -> Tensor:
    """Bool (B,): the inputs that the change makes meet the goal; they were asked."""
    asked = case.oracle.open
    around = cast(Ball, case.around)
    return case.oracle.goal.met(case.oracle.scores(around.project(around.x + change))) & asked


def _around_zero(around: Ball) -> Ball:
    """The changes allowed, as a ball of one row: no domain, since each input has its own room in it."""
    threat = {float("inf"): Linf, 2.0: L2, 1.0: L1}[order_of(around, "universal")]
    mask = None if around.mask is None else around.mask.any(0)
    return threat(around.eps[0].item(), mask).at(torch.zeros_like(around.x[:1]))


def _check(case: Case, times: int, steps: int, share: float, overshoot: float) -> None:
    at_least_one((times, "times"), (steps, "steps"))
    if not 0 < share <= 1:
        raise UsageError(f"share is a share of the inputs, above 0 and at most 1; got {share:g}.")
    if not 0 <= overshoot < float("inf"):
        raise UsageError(f"overshoot must be a finite number >= 0, got {overshoot:g}.")
    order_of(case.around, "universal")
    eps = cast(Ball, case.around).eps
    if case.goal.target is not None:
        raise UsageError("universal looks for a change away from the labels; it takes no target.")
    if not torch.isfinite(eps).all() or (eps != eps[0]).any():
        raise UsageError("universal needs one finite eps for all inputs: their change is the same.")
    if not case.oracle.press_on:
        raise UsageError("universal asks about every input again and again: give it an Oracle with press_on=True.")
