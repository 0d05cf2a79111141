"""One-Pixel: differential evolution over the places and colours of a few pixels."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.rows import slices
from robustly.core.specs import spec
from robustly.losses import cross_entropy
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case
from robustly.steps.canvas import as_images, image_shape
from robustly.steps.estimates import AT_ONCE
from robustly.steps.radii import ball_of, width_of
from robustly.steps.walk import still_open
from robustly.threats.l0 import L0Ball

STEP = 0.5  # F of the paper: how much of the difference of two candidates is added to a third
MIDDLE, SPREAD = 128 / 255, 127 / 255  # of the normal first colours, in widths of the domain


class Candidates(NamedTuple):
    """pixels: (B, P, K, 2 + C), row, column and colour of each of K pixels, all in [0, 1]; value: (B, P), their losses."""

    pixels: Tensor
    value: Tensor


@spec("attack", paper="Su, Vargas & Sakurai 2017, arXiv:1710.08864, section 3.2", needs="scores", sets=("L0Ball",))
def one_pixel(queries: int = 5000, population: int = 100, loss: Loss = cross_entropy) -> Attack:
    """Differential evolution: a candidate is a list of pixels, each with its place and its colour.

    As many pixels as the set allows, at least one: eps counts numbers, so for inputs of shape (C, H, W) eps / C pixels; any
    other shape is a line of numbers. A child is a + (b - c) / 2 for three random others of the population, without
    crossover, and takes its parent's place where its loss is higher. Places and colours that leave their range are drawn
    afresh. A surviving example costs exactly `queries` forward passes: generations of `population` points, the last one
    smaller.

    Args:
        queries: points asked an example; the paper has 100 generations of 400.
        population: candidates.
        loss: what must rise; the paper's falling probability of the label is the rising cross entropy.

    Raises:
        UsageError: queries < 1, population < 4; when it runs, a set other than an l0 ball, an infinite eps, or an unbounded
            domain.
    """
    for value, what, least in ((queries, "queries", 1), (population, "population", 4)):
        if value < least:
            raise UsageError(f"{what} must be at least {least}, got {value}.")

    def attack(case: Case) -> None:
        ball = _ball(case)
        state = _first(case, ball, population)
        for index, first in enumerate(range(0, queries, population)):
            case, state = still_open(case, state)
            if not len(case.key):
                return
            children = _children(case, state, index) if index else state.pixels
            count = min(population, queries - first)
            parts = [_asked(case, children[:, part], loss) for part in slices(count, AT_ONCE)]
            value = torch.cat((*parts, torch.full_like(state.value[:, count:], -torch.inf)), 1)
            better = value > state.value
            pixels = torch.where(better[:, :, None, None], children, state.pixels)
            state = Candidates(pixels, torch.where(better, value, state.value))

    return attack


def painted(x: Tensor, pixels: Tensor, many: Tensor) -> Tensor:
    """x (B, ...) with the first `many` (B,) of the pixels (B, K, 2 + C), colours as they are; later ones cover earlier."""
    out = as_images(x)
    channels, height, width = out.shape[1:]
    out = out.flatten(2)
    for number in range(pixels.shape[1]):
        place = _place(pixels[:, number, 0], height) * width + _place(pixels[:, number, 1], width)
        where = place[:, None, None].expand(-1, channels, 1)
        colour = torch.where((number < many)[:, None, None], pixels[:, number, 2:, None], out.gather(2, where))
        out = out.scatter(2, where, colour)
    return out.view_as(x)


def _place(share: Tensor, count: int) -> Tensor:
    return (share * count).long().clamp(0, count - 1)


def _first(case: Case, ball: L0Ball, population: int) -> Candidates:
    """Uniform places, normal colours, cut off at the range."""
    channels = image_shape(ball.x.shape[1:])[0]
    drawn = []
    for number in range(_most(ball)):  # one by one, so that an example draws the same whatever others may change
        key = keys.fold(case.key, 0, number)
        places = keys.uniform(keys.fold(key, 0), (population, 2))
        colours = MIDDLE + SPREAD * keys.normal(keys.fold(key, 1), (population, channels))
        drawn.append(torch.cat((places, colours.clamp(0, 1)), 2))
    value = torch.full((len(ball.x), population), -torch.inf, device=ball.x.device)
    return Candidates(torch.stack(drawn, 2), value)


def _children(case: Case, state: Candidates, index: int) -> Tensor:
    """a + F (b - c) for each candidate, with a, b, c distinct others; (B, P, K, 2 + C)."""
    rows, population = state.value.shape
    key = keys.fold(case.key, index)
    each = torch.arange(rows, device=state.value.device)[:, None]
    taken = torch.arange(population, device=state.value.device).expand(rows, -1)[:, :, None]
    for number in range(3):
        other = keys.integers(keys.fold(key, 0, number), population - 1 - number, (population,))
        for before in taken.sort(2).values.unbind(2):  # steps over those taken, the lowest first
            other = other + (other >= before)
        taken = torch.cat((taken, other[:, :, None]), 2)
    a, b, c = (state.pixels[each, taken[:, :, i]] for i in (1, 2, 3))
    child = a + STEP * (b - c)
    fresh = [keys.uniform(keys.fold(key, 1, number), (population, child.shape[3])) for number in range(child.shape[2])]
    return torch.where((child < 0) | (child > 1), torch.stack(fresh, 2), child)


def _asked(case: Case, pixels: Tensor, loss: Loss) -> Tensor:
    """The losses (B, P) of candidates (B, P, K, 2 + C); -inf where not asked or no number."""
    rows, population = pixels.shape[:2]
    owner = torch.arange(rows, device=pixels.device).repeat(population)
    around = cast(L0Ball, case.around.take(owner))
    flat = pixels.transpose(0, 1).flatten(0, 1)
    low, width = around.domain.low, width_of(around, "one_pixel")
    coloured = torch.cat((flat[:, :, :2], low + width * flat[:, :, 2:]), 2)
    told = case.oracle.propose(around.project(painted(around.x, coloured, _many(around))), owner)
    value = loss(told.scores, case.goal.take(owner))
    return torch.where(told.asked, value, -torch.inf).nan_to_num(-torch.inf).reshape(population, rows).T


def _many(ball: L0Ball) -> Tensor:
    """How many pixels each example may change, int64 (B,): at least one, of which projection undoes what is too much."""
    channels = image_shape(ball.x.shape[1:])[0]
    return (ball.eps / channels).floor().clamp_min(1).long()


def _most(ball: L0Ball) -> int:
    return min(int(_many(ball).max()), math.prod(image_shape(ball.x.shape[1:])[1:]))


def _ball(case: Case) -> L0Ball:
    ball = cast(L0Ball, ball_of(case, "one_pixel", (L0Ball,), "l0"))
    width_of(ball, "one_pixel")
    if not torch.isfinite(ball.eps).all():
        raise UsageError("one_pixel needs a finite eps; for the least distance wrap it: least_radius(...).")
    return ball
