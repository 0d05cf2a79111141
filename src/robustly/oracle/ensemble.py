"""Several models asked as one: what a gradient of them is the mean of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from robustly.core.errors import AccessError
from robustly.core.rows import column
from robustly.oracle.answers import Derived, Heads
from robustly.oracle.model import Model
from robustly.oracle.oracle import Oracle

Slope: TypeAlias = Callable[[Tensor], Tensor]
"""The gradient (R, ...) of values (R,) at the points asked; the graph is kept."""

Mean: TypeAlias = Callable[[Sequence[Tensor], Heads, Slope], tuple[Tensor, list[Tensor]]]
"""Of the scores (R, K) of each member: the values (R, T) that heads make of them, and the T gradients of those."""


@dataclass(frozen=True)
class Ensemble(Model):
    """A model whose scores are the mean of its members', and whose gradients are a mean that is `mean` to choose.

    Its passes count as those of one model. An attack sees the choice through `door`; where it is audited as a plain model,
    gradients are those of the mean scores.
    """

    members: tuple[Model, ...] = ()
    mean: Mean | None = None


def of_losses(each: Sequence[Tensor], heads: Heads, slope: Slope) -> tuple[Tensor, list[Tensor]]:
    """The mean of the members' losses, and its gradient."""
    values = torch.stack([heads(scores) for scores in each]).mean(0)
    return values.detach(), [slope(values[:, t]) for t in range(values.shape[1])]


def of_gradients(each: Sequence[Tensor], heads: Heads, slope: Slope) -> tuple[Tensor, list[Tensor]]:
    """The mean of the members' losses, and that of their gradients, each first brought to mean size 1.

    So a member whose gradients are small, say a smooth one, counts as much as the others.
    """
    values = [heads(scores) for scores in each]
    grads = [
        torch.stack([_levelled(slope(value[:, t])) for value in values]).mean(0) for t in range(values[0].shape[1])
    ]
    return torch.stack(values).mean(0).detach(), grads


def _levelled(grad: Tensor) -> Tensor:
    size = torch.nan_to_num(grad, nan=0.0, posinf=0.0, neginf=0.0).abs().flatten(1).mean(1)
    return grad / column(size.clamp_min(1e-30), grad)


class Several(Oracle):
    """The oracle of an ensemble whose gradients are not those of its mean scores."""

    def _derived(self, points: Tensor, local: Tensor, heads: Heads) -> Derived:
        model = self.model
        assert isinstance(model, Ensemble)
        assert model.mean is not None
        points = points.detach().requires_grad_()
        self._pay(local, forward=1)
        with torch.enable_grad():
            each = [member.answer(points.clone()) for member in model.members]
            cut = next((m for m, s in zip(model.members, each, strict=True) if not s.requires_grad), None)
            if cut is not None:
                raise AccessError(
                    f"no gradient flows through {cut.name}, a member of the ensemble: its answer is cut off from its "
                    "input (no_grad, detach, argmax or numpy inside). Leave it out."
                )
            scores = torch.stack(each).mean(0)
            self._refuse_labels_beyond(scores)

            def slope(value: Tensor) -> Tensor:
                with model.blamed():
                    return torch.autograd.grad(value.sum(), points, retain_graph=True)[0]

            values, grads = model.mean(each, heads, slope)
        return Derived(scores.detach(), values, [self._sound(grad, local) for grad in grads])

    def _sound(self, grad: Tensor, local: Tensor) -> Tensor:
        """The gradient, finite; a backward pass."""
        self._pay(local, backward=1)
        grad = torch.nan_to_num(grad, nan=0.0, posinf=0.0, neginf=0.0)
        self.ledger.flat.index_add_(0, self.rows[local], (grad.flatten(1).abs().amax(1) == 0).long())
        return grad


def door(model: Model) -> type[Oracle]:
    """The oracle that asks this model as it wants to be asked."""
    return Several if isinstance(model, Ensemble) and model.mean is not None else Oracle
