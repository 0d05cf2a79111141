"""The search for a counterexample: projected gradient descent on how far the outputs are from an unsafe polyhedron.

Signed gradients with momentum and a falling step (Madry et al. 2018, Dong et al. 2018), from many starts at once, on the largest
row of the polyhedron, or on the sum of the rows that don't hold; every start aims at one polyhedron.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from robustly.certify.questions import Questions
from robustly.core import keys

WORTH = 1e-3
"""A point is held to the letter where its excess is below this share of its question's usual size; the rest are only led on."""


@dataclass(frozen=True)
class Inside:
    """float32 (Q, n): the least and largest float32 of each question's box."""

    lower: Tensor
    upper: Tensor

    def point(self, x: Tensor, owner: Tensor) -> Tensor:
        """The nearest float32 points inside."""
        return torch.minimum(torch.maximum(x.float(), self.lower[owner]), self.upper[owner])


def excess(module: nn.Module, questions: Questions, x: Tensor, owner: Tensor) -> Tensor:
    """The largest row (M,) float64 at points (M, n) float32, of the question each belongs to."""
    with torch.no_grad():
        y = module(x).double()
    return (torch.einsum("mrk,mk->mr", questions.rows[owner], y) + questions.offsets[owner]).amax(1)


def descend(
    module: nn.Module,
    questions: Questions,
    inside: Inside,
    owner: Tensor,
    start: Tensor,
    tried: Callable[[Tensor, Tensor, Tensor], bool],
    over: Callable[[], bool],
    *,
    steps: int = 40,
    size: float = 0.25,
    summed: bool = False,
) -> tuple[Tensor, Tensor]:
    """Walk from points (M, n) float32, each towards the question it belongs to; returns the best of each, and its excess (M,).

    tried: given points, their questions and their excess after every step; says whether to stop. size: of the first step, as a
    share of each side of the box; the last one is a hundredth of it. summed: descend on the sum of the rows above zero rather
    than on the largest.
    """
    rows, offsets = questions.rows[owner].float(), questions.offsets[owner].float()
    side = inside.upper[owner] - inside.lower[owner]
    x, best, least = start, start, torch.full((len(start),), torch.inf, dtype=torch.float64)
    memory = torch.zeros_like(start)
    for step in range(steps + 1):
        z = x.detach().requires_grad_()
        with torch.enable_grad():
            values = torch.einsum("mrk,mk->mr", rows, module(z).float()) + offsets
            aim = values.clamp_min(0).sum(1) + values.amax(1) * 0.1 if summed else values.amax(1)
            gradient = torch.autograd.grad(aim.sum(), z)[0]
        now = values.detach().amax(1).double()
        now = torch.where(torch.isnan(now), torch.inf, now)
        better = now < least
        least, best = torch.where(better, now, least), torch.where(better[:, None], x, best)
        if tried(x, owner, now) or step == steps or over():
            break
        memory = 0.75 * memory + gradient / gradient.abs().mean(1, keepdim=True).clamp_min(1e-30)
        share = size * 0.01 ** (step / max(steps - 1, 1))
        x = inside.point(x - share * side * memory.sign(), owner)
    return best, least


def diversified(module: nn.Module, inside: Inside, owner: Tensor, start: Tensor, seed: int, steps: int = 10) -> Tensor:
    """Points (M, n) float32 that lie far apart for the network: each start walks along a random direction of some layer.

    Output-diversified initialisation (Tashiro et al. 2020, arXiv:2003.06878), here at a layer that the seed draws: the
    outputs in every other round, else one on the way there.
    """
    layers = [m for m in module.modules() if not list(m.children())]
    layer = module if seed % 2 == 0 or not layers else layers[(seed // 2) % len(layers)]
    kept: list[Tensor] = []
    hook = layer.register_forward_hook(lambda m, args, out: kept.append(cast(Tensor, out)))
    try:
        x, weights = start, None
        for _ in range(steps):
            kept.clear()
            z = x.detach().requires_grad_()
            with torch.enable_grad():
                module(z)
                value = kept[-1].flatten(1)
                if weights is None:
                    weights = keys.normal(keys.from_ids(seed, [f"way {i}" for i in range(len(x))]), value.shape[1:])
                gradient = torch.autograd.grad((weights * value).sum(), z, allow_unused=True)[0]
            if gradient is None:
                return start
            x = inside.point(x + 0.2 * (inside.upper[owner] - inside.lower[owner]) * gradient.sign(), owner)
    finally:
        hook.remove()
    return x


def starts(inside: Inside, owner: Tensor, seed: int, corners: bool = False) -> Tensor:
    """Random points (M, n) float32 of the boxes, or random corners of them; one a row, by its own key."""
    key = keys.from_ids(seed, [f"{i}:{q}" for i, q in enumerate(owner.tolist())])
    draw = keys.uniform(key, (inside.lower.shape[1],))
    draw = draw.round() if corners else draw
    return inside.point(inside.lower[owner] + draw * (inside.upper[owner] - inside.lower[owner]), owner)
