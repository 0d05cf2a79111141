"""A learnt space for `NearestQueries`: an image and what an attacker might make of it lie close, other images far.

The similarity encoder of Chen, Carlini & Wagner 2019, arXiv:1907.05587, section 4.1, trained with their contrastive loss:
d(x, x')^2 for a pair of an image and its transformation, max(0, m^2 - d^2) for a pair of different images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustly.core import keys
from robustly.core.errors import UsageError

MARGIN = 10.0**0.5
PAIRS = 64


def similarity(clean: Tensor, steps: int = 300, size: int = 64, seed: int = 0) -> Callable[[Tensor], Tensor]:
    """An encoder to (B, size), trained on clean images (N, C, H, W) for some steps of 64 pairs of each sort.

    Transformations are those of the paper that a small network needs: noise, a shift, brightness, contrast, a rotation.
    The same images, steps and seed give the same encoder.

    Raises:
        UsageError: no images, or fewer than two.
    """
    if clean.dim() != 4 or len(clean) < 2:
        raise UsageError(
            f"a similarity encoder is trained on images (N, C, H, W), at least 2; got {tuple(clean.shape)}."
        )
    low, high = clean.min(), clean.max()
    unit = (clean.float() - low) / (high - low).clamp_min(1e-12)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _network(unit.shape[1], size)
    with torch.enable_grad():
        _train(net, unit, steps, seed)
    net.requires_grad_(False).eval()
    return lambda z: net((z.float() - low) / (high - low).clamp_min(1e-12))


def transformed(x: Tensor, key: Tensor) -> Tensor:
    """Another view of each image (B, C, H, W) in [0, 1]: rotated, shifted, brighter, of other contrast, with noise."""
    draws = keys.uniform(key, (6,)) * 2 - 1
    angle, down, across = draws[:, 0] * 0.15, draws[:, 1] * 0.1, draws[:, 2] * 0.1
    first = torch.stack((angle.cos(), -angle.sin(), across), 1)
    second = torch.stack((angle.sin(), angle.cos(), down), 1)
    grid = F.affine_grid(torch.stack((first, second), 1), list(x.shape), align_corners=False)
    moved = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    bright, contrast, loud = (column(draws[:, i]) for i in (3, 4, 5))
    noise = keys.normal(keys.fold(key, 1), tuple(x.shape[1:])) * 0.1 * loud.abs()
    return ((moved - 0.5) * (1 + 0.2 * contrast) + 0.5 + 0.1 * bright + noise).clamp(0, 1)


def column(value: Tensor) -> Tensor:
    """A number an image, shaped to go with (B, C, H, W)."""
    return value.reshape(-1, 1, 1, 1)


def contrastive(one: Tensor, same: Tensor, other: Tensor) -> Tensor:
    """The loss of points (B, D) with those of their transformations and those of other images; a number."""
    near = (one - same).square().sum(1)
    far = (one - other).square().sum(1)
    return (near + (MARGIN**2 - far).clamp_min(0)).mean()


def _train(net: nn.Module, x: Tensor, steps: int, seed: int) -> None:
    climb = torch.optim.Adam(net.parameters(), lr=1e-3)
    for step in range(steps):
        key = keys.from_ids(seed, [f"{step}:{i}" for i in range(PAIRS)])
        one = keys.integers(key, len(x))
        other = (one + 1 + keys.integers(keys.fold(key, 2), len(x) - 1)) % len(x)
        loss = contrastive(net(x[one]), net(transformed(x[one], keys.fold(key, 3))), net(x[other]))
        climb.zero_grad()
        loss.backward()
        climb.step()


def _network(channels: int, size: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(512, size),
    )
