"""Adam's step (Kingma & Ba 2015, arXiv:1412.6980) on a table of parameters, each number for itself."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)


class Climb(NamedTuple, Generic[Key]):
    """Where an ascent is: its point, the means of gradients and of their squares, steps done."""

    at: dict[Key, Tensor]
    first: dict[Key, Tensor]
    second: dict[Key, Tensor]
    done: int = 0


def begin(at: Mapping[Key, Tensor]) -> Climb[Key]:
    """An ascent that has not moved yet."""
    none = {k: torch.zeros_like(v) for k, v in at.items()}
    return Climb({k: v.detach().clone().requires_grad_() for k, v in at.items()}, none, none)


def climb(
    state: Climb[Key], gradients: Mapping[Key, Tensor | None], rate: float, kept: Callable[[Key, Tensor], Tensor]
) -> Climb[Key]:
    """One step uphill of length `rate`, two hundredths shorter each time; `kept` brings a parameter back into its range."""
    done, size = state.done + 1, rate * 0.98**state.done
    at, first, second = dict(state.at), dict(state.first), dict(state.second)
    for key, g in gradients.items():
        if g is None:
            continue
        first[key] = 0.9 * first[key] + 0.1 * g
        second[key] = 0.999 * second[key] + 0.001 * g * g
        spread = (second[key] / (1 - 0.999**done)).sqrt() + 1e-8
        moved = at[key].detach() + size * (first[key] / (1 - 0.9**done)) / spread
        at[key] = kept(key, moved).requires_grad_()
    return Climb(at, first, second, done)


def slopes_at(total: Tensor, state: Climb[Key]) -> dict[Key, Tensor | None]:
    """The gradients of a sum at the point; None where it does not depend on a parameter."""
    if not total.requires_grad:
        return dict.fromkeys(state.at)
    found = torch.autograd.grad(total, list(state.at.values()), allow_unused=True)
    return dict(zip(state.at, found, strict=True))
