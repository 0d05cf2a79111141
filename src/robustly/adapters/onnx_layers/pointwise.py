"""Functions of one number, or of several at one place."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustly.adapters.onnx_layers.bound import VARIABLE, Args, At, Bound, UnsupportedError, constant


def clip(at: At, args: Args) -> nn.Module:
    """Clamped to constants."""
    low = at.get("min", constant(args, 1, "the lower bound"))
    high = at.get("max", constant(args, 2, "the upper bound"))
    return Bound(lambda x: x.clamp(*(None if v is None else float(v) for v in (low, high))), args[:1])


def dropout(at: At, args: Args) -> nn.Module:
    """Nothing, outside of training."""
    training = constant(args, 2, "the training flag")
    if training is not None and bool(training):
        raise UnsupportedError("dropout in training mode")
    return nn.Identity()


def quotient(at: At, args: Args) -> nn.Module:
    """x / y; of whole numbers, as shapes are, without the fraction."""

    def function(x: Tensor, y: Tensor) -> Tensor:
        whole = not (x.is_floating_point() or y.is_floating_point())
        return torch.div(x, y, rounding_mode="trunc" if whole else None)

    return Bound(function if at["fixed"] else torch.div, args)


def remainder(at: At, args: Args) -> nn.Module:
    """What a division leaves: with the sign of the divisor, or of the dividend."""
    return Bound(torch.fmod if at.get("fmod", 0) else torch.remainder, args)


def several(mean: bool) -> Callable[[At, Args], nn.Module]:
    """The sum or the mean of any number of arguments."""

    def make(at: At, args: Args) -> nn.Module:
        def function(*parts: Tensor) -> Tensor:
            out = parts[0]
            for part in parts[1:]:
                out = out + part
            return out / len(parts) if mean else out

        return Bound(function, args)

    return make


def cast(at: At, args: Args) -> nn.Module:
    """Another type."""
    kinds = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64}
    if at["to"] not in kinds:
        raise UnsupportedError(f"a cast to type {at['to']}")
    if kinds[at["to"]] == at["dtype"]:
        return nn.Identity()
    return Bound(lambda x: x.to(kinds[at["to"]]), args)


def hard_sigmoid(alpha: float, beta: float) -> nn.Module:
    """alpha x + beta, clamped to [0, 1]."""
    return Bound(lambda x: (alpha * x + beta).clamp(0.0, 1.0), [VARIABLE])


def leaky_relu(at: At, args: Args) -> nn.Module:
    """x, or a share of it below zero."""
    return nn.LeakyReLU(at.get("alpha", 0.01))


def gelu(at: At, args: Args) -> nn.Module:
    """x Phi(x), or its approximation by tanh."""
    return nn.GELU(approximate=at.get("approximate", "none"))


def prelu(at: At, args: Args) -> nn.Module:
    """Leaky ReLU with slopes of its own."""
    slope = constant(args, 1, "the slope")
    if slope.numel() == 1:
        return nn.LeakyReLU(float(slope))
    return Bound(lambda x, s: torch.relu(x) - s * torch.relu(-x), [VARIABLE, slope])


def extreme(sign: int) -> Callable[[At, Args], nn.Module]:
    """Max and Min take any number of arguments; a minimum is a maximum of negatives, which is what has bounds."""

    def make(at: At, args: Args) -> nn.Module:
        def several(*parts: Tensor) -> Tensor:
            out = parts[0] if sign > 0 else -parts[0]
            for part in parts[1:]:
                out = torch.maximum(out, part if sign > 0 else -part)
            return out if sign > 0 else -out

        return Bound(several, args)

    return make


def power(at: At, args: Args) -> nn.Module:
    """x to the power of a constant."""
    exponent = args[1]
    if isinstance(exponent, Tensor) and exponent.numel() == 1 and args[0] is VARIABLE and exponent.dim() == 0:
        number = float(exponent)
        return Bound(lambda x: torch.pow(x, int(number) if number.is_integer() else number), args[:1])
    return Bound(torch.pow, args)
