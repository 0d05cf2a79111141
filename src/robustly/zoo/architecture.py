"""The one architecture of the carried classifiers: two strided convolutions and two linear layers."""

import torch
from torch import nn


def small_convnet() -> nn.Sequential:
    """A network from images (B, 1, 28, 28) in [0, 1] to logits (B, 10): 201,658 weights, not yet given values.

    The shape is the small network of Wong & Kolter (ICML 2018, arXiv 1711.00851), with 48 channels for 32 in the
    second layer and 80 hidden units for 100. Only ordinary layers in sequence, so that a certifier can walk them,
    and no normalisation: a radius in pixels is a radius at the first layer.
    """
    with torch.device("meta"):  # draws no initial weights, so that the global random state stays as it was
        net = nn.Sequential(
            nn.Conv2d(1, 16, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 48, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(48 * 7 * 7, 80),
            nn.ReLU(),
            nn.Linear(80, 10),
        )
    return net.to_empty(device="cpu")
