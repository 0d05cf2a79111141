"""Spatially transformed: every pixel moved a little, its neighbours nearly alike."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.bilinear import moved, roughness
from robustly.steps.counts import at_least_one
from robustly.steps.moments import Moments, direction, no_moments, remembered
from robustly.steps.penalty import Weights, hinge, reweighted
from robustly.steps.walk import positive, still_open
from robustly.threats.flow import FlowSet


class Flowing(NamedTuple):
    """flow: (B, 2, H, W), pixels down and right. moments: Adam's, of it. met: bool (B,), some point met the goal."""

    flow: Tensor
    moments: Moments
    met: Tensor


@spec("attack", paper="Xiao et al. 2018, arXiv:1801.02612", sets=("FlowSet",))
def stadv(
    steps: int = 100, binary_steps: int = 5, tau: float = 0.05, rate: float = 0.05, initial_const: float = 1.0
) -> Attack:
    """Descend on a weighted loss plus tau times the roughness of the flow that moves the pixels (the paper's eq. 2 to 4).

    The image is read bilinearly where the flow leads. The loss is the margin, 0 where the goal is met, its weight the
    least that bisection finds; with binary_steps = 1 it is 1 as in the paper. Adam takes the place of the paper's L-BFGS,
    and the flow stays within eps pixels along each axis, the threat's bound, which the paper has not. With an oracle that
    presses on the ledger keeps the point of least flow, by the threat's distance. At most binary_steps * steps forward
    and backward passes an example.

    Args:
        steps: gradient steps of one descent.
        binary_steps: descents; the weight grows tenfold until one succeeds, and is then bisected.
        tau: how much roughness, in pixels, is one score worth.
        rate: of Adam, in pixels.
        initial_const: the first weight of the loss.

    Raises:
        UsageError: a count < 1, rate or initial_const not above 0, tau < 0; when it runs, another set than that of `Flow`.
    """
    at_least_one((steps, "steps"), (binary_steps, "binary_steps"))
    positive(rate, "rate")
    positive(initial_const, "initial_const")
    if not 0 <= tau < float("inf"):
        raise UsageError(f"tau must be a finite number >= 0, got {tau:g}.")

    def attack(case: Case) -> None:
        reweighted(case, initial_const, binary_steps, lambda some, weights: _descended(some, weights, steps, tau, rate))

    return attack


def _descended(case: Case, weights: Weights, steps: int, tau: float, rate: float) -> tuple[Case, Weights, Tensor]:
    """One descent from no flow: the rows still open, their weights, and whether they met the goal, bool."""
    none = torch.zeros_like(_flows(case).x[:, :1]).expand(-1, 2, -1, -1).contiguous()
    state = Flowing(none, no_moments(none), torch.zeros_like(case.goal.y, dtype=torch.bool))
    for index in range(steps):
        case, (weights, state) = still_open(case, (weights, state))
        if not len(case.key):
            break
        around = _flows(case)
        flow = state.flow.requires_grad_()
        with torch.enable_grad():
            z, rough = moved(around.x, flow), roughness(flow)
        answer = case.oracle.gradient(around.project(z.detach()), hinge(0.0), case.goal)
        downhill = torch.autograd.grad(
            (z, rough), flow, (-column(weights.now, z) * answer.grad, torch.full_like(rough, tau))
        )[0]
        moments = remembered(state.moments, downhill)
        mean, spread = direction(moments, index + 1)
        flow = (flow.detach() - rate * mean / spread).clamp(-around.reach, around.reach)
        state = Flowing(flow, moments, state.met | case.goal.met(answer.scores))
    return case, weights, state.met


def _flows(case: Case) -> FlowSet:
    """The case's set.

    Raises:
        UsageError: it isn't that of `Flow`.
    """
    if not isinstance(case.around, FlowSet):
        raise UsageError(f"stadv moves pixels, in the sets of Flow, not in {type(case.around).__name__}.")
    return case.around
