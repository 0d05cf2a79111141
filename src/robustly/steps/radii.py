"""Balls whose radius a search for the least distance moves, and what it knows of a point."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.goals import Goal
from robustly.oracle.ledger import FIRM
from robustly.steps.types import Case
from robustly.threats.ball import Ball
from robustly.threats.coordinates import bounds
from robustly.threats.linf import LinfBall

TINY = torch.finfo(torch.float32).tiny


def ball_of(case: Case, who: str, kinds: tuple[type[Ball], ...], say: str) -> Ball:
    """The case's set, if it is a ball of one of these kinds.

    Raises:
        UsageError: it isn't; `who` is the attack, `say` what to write instead.
    """
    if not isinstance(case.around, kinds):
        raise UsageError(f"{who} can't walk in {type(case.around).__name__}; give it {say}.")
    return case.around


def width_of(around: Ball, who: str) -> float:
    """The width of the domain: what step sizes of papers that take images in [0, 1] are multiples of.

    Raises:
        UsageError: an unbounded domain.
    """
    width = around.domain.high - around.domain.low
    if not width < float("inf"):
        raise UsageError(f"{who} needs a bounded input range, got {around.domain}: declare it, say range=(0, 1).")
    return width


def free(around: Ball) -> Ball:
    """The ball without its eps: the domain and the mask alone, in which a search for the least distance may wander."""
    low, high = bounds(around.x, around.domain, around.mask)
    return replace(around, eps=torch.full_like(around.eps, torch.inf), low=low, high=high)


def onto(around: Ball, z: Tensor, radius: Tensor) -> Tensor:
    """The nearest point to z, in l2, within `radius` (B,) of x, and within the ball and its bounds.

    For l2 and l1 the projection within the bounds, for l0 the changes that lose most if undone, for linf a clip.
    """
    if isinstance(around, LinfBall):
        far = column(radius.to(z.dtype), z)
        return around.clip(torch.minimum(torch.maximum(z, around.x - far), around.x + far))
    return replace(around, eps=torch.minimum(radius.to(around.eps), around.eps)).project(z)


def unit(g: Tensor) -> Tensor:
    """g (B, ...) over its l2 length, however small that is; zero where it is zero."""
    flat = g.flatten(1)
    flat = flat / flat.abs().amax(1, keepdim=True).clamp_min(TINY)
    return (flat / flat.norm(dim=1, keepdim=True).clamp_min(TINY)).view_as(g)


def firmly(goal: Goal, scores: Tensor) -> Tensor:
    """Bool (B,): the scores (B, K) meet the goal so clearly that rounding can't undo it, or aren't finite."""
    return (goal.margin(scores) < -FIRM * scores.abs().amax(1)) | ~torch.isfinite(scores).all(1)
