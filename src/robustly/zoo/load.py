"""The carried networks and images, read from the files of this folder."""

from __future__ import annotations

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from robustly.zoo import FOLDER, _known, data_names, describe, names
from robustly.zoo.architecture import small_convnet


def network(name: str) -> nn.Sequential:
    """The carried network `name`: images (B, 1, 28, 28), float32 in [0, 1], to logits (B, 10).

    It is in evaluation mode and its parameters require no gradient. Every call reads a fresh copy.

    Raises:
        UsageError: the zoo carries no network of that name.
    """
    net = small_convnet()
    net.load_state_dict(load_file(FOLDER / f"{_known(name, names(), 'network')}.safetensors"))
    return net.requires_grad_(False).eval()


def images(name: str = "fashion") -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """The carried test images: x (1000, 1, 28, 28), float32 in [0, 1]; labels y (1000,), int64; the class names.

    Raises:
        UsageError: the zoo carries no images of that name.
    """
    with np.load(FOLDER / f"{_known(name, data_names(), 'image set')}.npz", allow_pickle=False) as file:
        x = torch.from_numpy(file["x"]).unsqueeze(1).float() / 255
        y = torch.from_numpy(file["y"]).long()
    return x, y, describe(name).classes
