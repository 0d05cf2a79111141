"""Small networks that learn another model's answers: a convolutional one for images, a perceptron for anything else."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

LEAST_SIDE = 8
"""Images of smaller sides are taken as lines of numbers."""


def pupil(shape: Sequence[int], classes: int, seed: int) -> nn.Sequential:
    """An untrained network for inputs of that shape: its weights are He-normal, drawn from the seed alone."""
    net = _convolutional(shape, classes) if len(shape) == 3 and min(shape[1:]) >= LEAST_SIDE else _plain(shape, classes)
    rng = torch.Generator().manual_seed(seed)
    net = net.to_empty(device="cpu")
    for name, values in net.named_parameters():
        if name.endswith("weight"):
            nn.init.kaiming_normal_(values, nonlinearity="relu", generator=rng)
        else:
            nn.init.zeros_(values)
    return net


def taught(net: nn.Sequential, x: Tensor, wanted: Tensor, epochs: int, seed: int, rate: float = 2e-3) -> None:
    """Train the network in place on inputs x (N, ...) with the wanted probabilities (N, K), by Adam on cross entropy.

    The order of the examples comes from the seed. The network is ours; nothing else changes, the global random state
    included.
    """
    rng = torch.Generator().manual_seed(seed)
    net.requires_grad_(True).train()
    with torch.enable_grad():
        optimiser = torch.optim.Adam(net.parameters(), lr=rate)
        batch = min(64, len(x))
        steps = epochs * math.ceil(len(x) / batch)
        fade = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - 0.9 * step / max(steps, 1))
        for _ in range(epochs):
            for rows in torch.randperm(len(x), generator=rng).split(batch):
                loss = nn.functional.cross_entropy(net(x[rows]), wanted[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                fade.step()
    net.requires_grad_(False).eval()


class Centred(nn.Module):
    """Takes a mean (1, ...) off and divides by a width."""

    mean: Tensor
    width: Tensor

    def __init__(self, mean: Tensor, width: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("width", torch.tensor(width))

    def forward(self, z: Tensor) -> Tensor:
        """The input, centred."""
        return (z - self.mean) / self.width


def _convolutional(shape: Sequence[int], classes: int) -> nn.Sequential:
    channels, height, width = shape
    with torch.device("meta"):  # draws no initial weights, so that the global random state stays as it was
        return nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * (height // 4) * (width // 4), 64), nn.ReLU(), nn.Linear(64, classes),
        )  # fmt: skip


def _plain(shape: Sequence[int], classes: int) -> nn.Sequential:
    with torch.device("meta"):
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(shape), 64),
            nn.ReLU(),
            nn.Linear(64, 64),
            nn.ReLU(),
            nn.Linear(64, classes),
        )
