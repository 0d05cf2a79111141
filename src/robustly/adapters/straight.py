"""Parts of a model that have no useful gradient, with one from elsewhere: the straight-through estimator (BPDA)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from robustly.adapters.digests import callable_digest
from robustly.core.errors import UsageError

Part = Callable[[Tensor], Any]


def straight_through(forward: Part, backward: Part | None = None) -> nn.Module:
    """A part whose answer is that of `forward` and whose gradient is that of `backward`, the identity by default.

    For defences that hide the gradient: quantisation, JPEG, median filters, denoisers, numpy code. Backward pass
    differentiable approximation, Athalye, Carlini & Wagner 2018, arXiv:1802.00420, section 4.1.

        model = nn.Sequential(straight_through(jpeg), network).eval()

    Args:
        forward: takes a tensor (B, ...) that needs no gradient and gives a tensor or a numpy array of numbers. It may use
            anything, and is never differentiated.
        backward: what stands for it in the backward pass: differentiable, with an answer of the same shape.

    Raises:
        UsageError: either can't be called; when it runs, answers of different shapes.
    """
    for part, name in ((forward, "forward"), (backward, "backward")):
        if part is not None and not callable(part):
            raise UsageError(f"{name} of straight_through is a function or a module, got {part!r}.")
    return _Straight(forward, backward)


class _Straight(nn.Module):
    """In evaluation mode from the start; its modules keep the mode they are in."""

    def __init__(self, exact: Part, near: Part | None) -> None:
        super().__init__()
        self.training = False
        self.exact, self.near = exact, near
        for name, part in (("exact", exact), ("near", near)):  # plain functions count in the hash of the model too
            if part is not None and not isinstance(part, nn.Module):
                digest = bytes.fromhex(callable_digest(part)[0])
                self.register_buffer(f"code_of_{name}", torch.tensor(list(digest), dtype=torch.uint8), persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        with torch.no_grad():
            answer = torch.as_tensor(self.exact(z.detach().clone()), device=z.device)
        near = z if self.near is None else self.near(z)
        if near.shape != answer.shape:
            raise UsageError(
                f"straight_through: forward turns {tuple(z.shape)} into {tuple(answer.shape)}, but its stand-in gives "
                f"{tuple(near.shape)}. Give a backward=... that answers in the same shape."
            )
        if not (z.requires_grad or near.requires_grad):
            return answer.to(near.dtype)
        return _Exact.apply(near, answer.to(near.dtype))  # type: ignore[no-any-return]


class _Exact(torch.autograd.Function):
    """The second argument forward, to the last bit; the gradient goes to the first."""

    @staticmethod
    def forward(ctx: Any, near: Tensor, answer: Tensor) -> Tensor:
        return answer.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:
        return grads[0], None
