"""Pixle: pixels of the input copied to other places of it."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.losses import cross_entropy
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case
from robustly.steps.canvas import as_images
from robustly.steps.radii import ball_of
from robustly.steps.walk import still_open
from robustly.threats.l0 import L0Ball

NARROWEST = 2  # the least side of a patch


class Best(NamedTuple):
    """base: (B, ...), what proposals change. z: (B, ...), the best yet, and its loss, value (B,)."""

    base: Tensor
    z: Tensor
    value: Tensor


@spec("attack", paper="Pomponi et al. 2022, arXiv:2202.02236, algorithm 1", needs="scores", sets=("L0Ball",))
def pixle(queries: int = 1000, tries: int = 10, width: int = 10, loss: Loss = cross_entropy) -> Attack:
    """Copy a random patch of the input, pixel by pixel, to random places of the best image so far; keep what is best.

    `tries` such proposals change the same image, and the best there has been is the next one. No colour is made up: all
    come from the input. A pixel has all channels of an input (C, H, W); any other shape is a line of numbers. The sides of a
    patch are 2 to `width`. Proposals that change more numbers than eps allows keep the largest changes; eps may be
    infinite. A surviving example costs exactly `queries` forward passes, of which the first is the input's.

    Args:
        queries: points asked an example.
        tries: proposals between two changes of the image; 1 to change it at every better one.
        width: the longest side of a patch.
        loss: what must rise; the paper's falling probability of the label is the rising cross entropy.

    Raises:
        UsageError: queries or tries < 1, width < 2; when it runs, a set other than an l0 ball.
    """
    for value, what, least in ((queries, "queries", 1), (tries, "tries", 1), (width, "width", NARROWEST)):
        if value < least:
            raise UsageError(f"{what} must be at least {least}, got {value}.")

    def attack(case: Case) -> None:
        ball = ball_of(case, "pixle", (L0Ball,), "l0")
        value = loss(case.oracle.scores(ball.x), case.goal)
        state = Best(ball.x, ball.x, value)
        for index in range(queries - 1):
            case, state = still_open(case, state)
            if not len(case.key):
                return
            if index % tries == 0:
                state = state._replace(base=state.z)
            around = cast(L0Ball, case.around)
            point = around.project(rearranged(around.x, state.base, keys.fold(case.key, index), width))
            value = loss(case.oracle.scores(point), case.goal)
            better = value > state.value
            z = torch.where(column(better, point), point, state.z)
            state = Best(state.base, z, torch.where(better, value, state.value))

    return attack


def rearranged(x: Tensor, base: Tensor, key: Tensor, width: int) -> Tensor:
    """`base` (B, ...) with the pixels of a random patch of x at random places, no two at the same."""
    source, target = as_images(x), as_images(base).flatten(2)
    height, across = source.shape[2:]
    tall, wide = min(width, height), min(width, across)
    sides = [
        keys.integers(keys.fold(key, i), longest - min(NARROWEST, longest) + 1) + min(NARROWEST, longest)
        for i, longest in enumerate((tall, wide))
    ]
    top = keys.integers(keys.fold(key, 2), height - sides[0] + 1)
    left = keys.integers(keys.fold(key, 3), across - sides[1] + 1)
    down, right = (torch.arange(n, device=x.device) for n in (tall, wide))
    inside = (down[:, None] < sides[0][:, None, None]) & (right < sides[1][:, None, None])
    rows = (top[:, None] + down).clamp_max(height - 1)[:, :, None]
    columns = (left[:, None] + right).clamp_max(across - 1)[:, None, :]
    patch = source.flatten(2).gather(2, (rows * across + columns).flatten(1)[:, None].expand(-1, source.shape[1], -1))
    places = keys.permutation(keys.fold(key, 4), height * across)[:, : tall * wide]
    places = places[:, None].expand(-1, source.shape[1], -1)
    kept = torch.where(inside.flatten(1)[:, None], patch, target.gather(2, places))
    return target.scatter(2, places, kept).view_as(base)
