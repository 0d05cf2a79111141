"""The least visible change of colour that is adversarial: Carlini & Wagner's descent with CIEDE2000 for the distance."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.counts import at_least_one
from robustly.steps.moments import Moments, direction, no_moments, remembered
from robustly.steps.penalty import Weights, hinge, reweighted
from robustly.steps.tanh import from_inputs, to_inputs
from robustly.steps.walk import positive, still_open
from robustly.threats.colour import ColourSet

STEP = 1e-4  # of the difference quotients, in widths of the domain


class Descent(NamedTuple):
    """w: (B, C, H, W), the point in tanh space. moments: Adam's, of it. met: bool (B,), some point met the goal."""

    w: Tensor
    moments: Moments
    met: Tensor


@spec("attack", paper="Zhao, Liu & Larson 2020, arXiv:1911.02466, PerC-C&W", sets=("ColourSet",))
def perc_cw(
    steps: int = 1000,
    binary_steps: int = 9,
    rate: float = 0.01,
    confidence: float = 0.0,
    initial_const: float = 10.0,
) -> Attack:
    """Minimise the length of all pixels' CIEDE2000 plus a weight times the margin, in tanh space; bisect the weight.

    Points are asked pulled into the set, which bounds each pixel by eps; the paper has no such bound, and under a large
    eps there is none. With an oracle that presses on the ledger keeps the point whose most changed pixel is the least
    changed, the threat's distance. The authors' early stop is left out. At most binary_steps * steps forward and backward
    passes an example.

    Args:
        steps: gradient steps of one descent.
        binary_steps: descents; the weight grows tenfold until one succeeds, and is then bisected.
        rate: of Adam, in tanh space.
        confidence: the margin, in scores, by which the goal should be met.
        initial_const: the first weight.

    Raises:
        UsageError: a count < 1, rate or initial_const not above 0, confidence < 0; when it runs, another set than that
            of `Colour`.
    """
    at_least_one((steps, "steps"), (binary_steps, "binary_steps"))
    positive(rate, "rate")
    positive(initial_const, "initial_const")
    if not 0 <= confidence < float("inf"):
        raise UsageError(f"confidence must be a finite number >= 0, got {confidence:g}.")

    def attack(case: Case) -> None:
        reweighted(
            case, initial_const, binary_steps, lambda some, weights: _descended(some, weights, steps, rate, confidence)
        )

    return attack


def _descended(
    case: Case, weights: Weights, steps: int, rate: float, confidence: float
) -> tuple[Case, Weights, Tensor]:
    """One descent with fixed weights: the rows still open, their weights, and whether they met the goal, bool."""
    around = _colours(case)
    low, high = (torch.full_like(around.x, end) for end in (around.domain.low, around.domain.high))
    w = from_inputs(low, high, around.x)
    state = Descent(w, no_moments(w), torch.zeros_like(case.goal.y, dtype=torch.bool))
    for index in range(steps):
        case, (weights, state) = still_open(case, (weights, state))
        if not len(case.key):
            break
        around = _colours(case)
        low, high = (torch.full_like(around.x, end) for end in (around.domain.low, around.domain.high))
        z, slope = to_inputs(low, high, state.w)
        outside = not around.contains(z).all()  # most of a projection is measuring; a point inside is its own
        answer = case.oracle.gradient(around.project(z) if outside else z, hinge(confidence), case.goal)
        downhill = (colour_slope(around, z).to(z.dtype) - column(weights.now, z) * answer.grad) * slope
        moments = remembered(state.moments, downhill)
        mean, spread = direction(moments, index + 1)
        met = state.met | (case.goal.margin(answer.scores) <= -confidence)
        state = Descent(state.w - rate * mean / spread, moments, met)
    return case, weights, state.met


def colour_slope(around: ColourSet, z: Tensor) -> Tensor:
    """The gradient at z, float64 (B, C, H, W), of the length of all pixels' CIEDE2000; 0 at the input.

    By difference quotients, exact enough in float64 and all pixels at once, since each pixel's colour is its own: the
    formula's derivative is undefined at greys and where nothing changed, where images begin.
    """
    step = STEP * (around.domain.high - around.domain.low)
    here = around.measure(z)
    slopes = []
    for channel in range(z.shape[1]):
        nudge = torch.zeros(z.shape[1], 1, 1, dtype=torch.float64, device=z.device)
        nudge[channel] = step
        up, down = (around.measure(z.double() + sign * nudge) for sign in (1, -1))
        slopes.append((up - down) / (2 * step))
    length = here.flatten(1).norm(dim=1).clamp_min(1e-30)
    return here * torch.cat(slopes, 1) / column(length, here)


def _colours(case: Case) -> ColourSet:
    """The case's set.

    Raises:
        UsageError: it isn't that of `Colour`.
    """
    if not isinstance(case.around, ColourSet):
        raise UsageError(f"perc_cw changes colours, in the sets of Colour, not in {type(case.around).__name__}.")
    return case.around
