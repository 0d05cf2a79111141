"""A radius that follows the border: down where the goal is met, else up (Pintor et al. 2021, arXiv:2102.12827)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.goals import Goal
from robustly.oracle import Answer
from robustly.steps.dual import dual_of
from robustly.steps.radii import firmly
from robustly.threats.ball import Ball
from robustly.threats.l0 import L0Ball

BEYOND = 1.001  # so much further than where a linear border is, or a walk would touch it and never cross


class Chase(NamedTuple):
    """A point (B, ...), the radius of the ball it walks in, and the distance of the nearest hit, each float64 (B,)."""

    z: Tensor
    radius: Tensor
    best: Tensor


def set_out(around: Ball) -> Chase:
    """At the input, with nothing found; one coordinate for l0, any radius else."""
    endless = torch.full_like(around.eps, torch.inf)
    return Chase(around.x, torch.ones_like(around.eps) if isinstance(around, L0Ball) else endless, endless)


def follow(around: Ball, goal: Goal, state: Chase, answer: Answer, share: float) -> Chase:
    """The radius after an answer at the point: algorithm 1 of the paper, lines 5 to 11.

    Where the goal was never met it is where the border would be if the loss, positive where the goal is met, were
    linear; else it shrinks by the share where the goal is met, to the nearest found at most, and grows by it where not.
    """
    far, met = around.distance(state.z), firmly(goal, answer.scores)
    best = torch.where(met, torch.minimum(far, state.best), state.best)
    if isinstance(around, L0Ball):
        less = torch.minimum(state.radius - 1, (state.radius * (1 - share)).floor())
        more = torch.maximum(state.radius + 1, (state.radius * (1 + share)).floor())
        return Chase(state.z, torch.where(met, torch.minimum(less, best), more).clamp_min(1), best)
    fall = torch.linalg.vector_norm(answer.grad.flatten(1), ord=dual_of(around), dim=1).double()
    linear = BEYOND * (far + answer.value.double().abs() / fall.clamp_min(1e-30))
    grown = torch.where(best < torch.inf, state.radius * (1 + share), linear)
    return Chase(state.z, torch.where(met, torch.minimum(state.radius * (1 - share), best), grown), best)
