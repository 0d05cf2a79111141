"""A random model for the peers and for us: the zoo's network on inputs with noise. Read in both environments."""

import importlib.util
from pathlib import Path

import torch
from torch import nn

FILE = Path(__file__).parents[2] / "src" / "robustly" / "zoo" / "architecture.py"
NOISE = 0.05


def noisy_convnet() -> nn.Sequential:
    """The carried architecture, whose every answer is to its input with fresh normal noise."""
    found = importlib.util.spec_from_file_location("architecture", FILE)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    net = module.small_convnet()
    net.register_forward_pre_hook(lambda _, given: (given[0] + NOISE * torch.randn_like(given[0]),))
    return net
