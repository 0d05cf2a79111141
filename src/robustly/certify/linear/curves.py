"""The smooth functions that networks use, with their derivatives and the points where their curvature turns."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from robustly.certify.linear.smooth import Curve

_ROOT = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


def _sigmoid_slope(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * torch.sigmoid(-x)


def _gelu_slope(x: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-x / math.sqrt(2)) + x * torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _gelu(x: Tensor) -> Tensor:
    return 0.5 * x * torch.erfc(-x / math.sqrt(2))


def _quick(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _quick_slope(x: Tensor) -> Tensor:
    t = torch.tanh(_ROOT * (x + _CUBIC * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * _ROOT * (1 + 3 * _CUBIC * x * x)


def _silu_slope(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * (1 + x * torch.sigmoid(-x))


SIGMOID = Curve("sigmoid", torch.sigmoid, _sigmoid_slope, (0.0,))
TANH = Curve("tanh", torch.tanh, lambda x: 1 - torch.tanh(x).square(), (0.0,))
GELU = Curve("gelu", _gelu, _gelu_slope, (-math.sqrt(2), math.sqrt(2)), convex=False)
QUICK_GELU = Curve("gelu_tanh", _quick, _quick_slope, (-1.4185040087908283, 1.4185040087908283), convex=False)
SILU = Curve("silu", F.silu, _silu_slope, (-2.3993572805154677, 2.3993572805154677), convex=False)
EXP = Curve("exp", torch.exp, torch.exp)
CAP = 100.0
CAPPED = Curve(
    "capped_exp",
    lambda x: torch.exp(x.clamp_max(CAP)),
    lambda x: torch.where(x < CAP, torch.exp(x.clamp_max(CAP)), 0),
    (CAP,),
)
"""exp(min(x, 100)): in a softmax what lies beyond makes a result below the least float32."""
SOFTPLUS = Curve("softplus", lambda x: torch.logaddexp(x, torch.zeros_like(x)), torch.sigmoid)
ELU = Curve("elu", F.elu, lambda x: torch.exp(x.clamp_max(0)))
SQUARE = Curve("square", torch.square, lambda x: 2 * x)
ROOT = Curve("sqrt", torch.sqrt, lambda x: 0.5 / torch.sqrt(x), convex=False, domain=(0.0, math.inf))
RECIPROCAL = Curve("reciprocal", torch.reciprocal, lambda x: -1 / x.square(), domain=(0.0, math.inf))
