"""Several models as one surrogate: the mean of their logits, of their losses, or of their gradients."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from robustly.adapters.models import load_model
from robustly.core.errors import UsageError
from robustly.oracle.ensemble import Ensemble, Mean, of_gradients, of_losses
from robustly.oracle.model import Access, Model
from robustly.threats.base import Domain

Source = str | nn.Module | Model | Callable[..., Any]


def mean_logits(*models: Source) -> Ensemble:
    """One model whose scores are the mean of the models' (Dong et al. 2018, arXiv:1710.06081, section 3.2, eq. 8).

    models: as `load_model` takes them, of the same inputs, range and classes.

    Raises:
        UsageError: no model, one that gives labels only, or models that differ in range, classes or device.
    """
    return _ensemble("mean_logits", None, models)


def mean_losses(*models: Source) -> Ensemble:
    """The same, but an attack climbs the mean of the models' losses (section 3.2, eq. 10).

    Raises:
        UsageError: as for `mean_logits`, or one that gives no gradients.
    """
    return _ensemble("mean_losses", of_losses, models)


def mean_gradients(*models: Source) -> Ensemble:
    """The same, but an attack follows the mean of the models' gradients, each first brought to the same size.

    Raises:
        UsageError: as for `mean_logits`, or one that gives no gradients.
    """
    return _ensemble("mean_gradients", of_gradients, models)


def _ensemble(name: str, mean: Mean | None, models: tuple[Source, ...]) -> Ensemble:
    if not models:
        raise UsageError(f"{name} wants at least one model: {name}(a, b).")
    members = tuple(load_model(model) for model in models)
    least = Access.SCORES if mean is None else Access.GRADIENTS
    weak = next((m for m in members if m.access < least), None)
    if weak is not None:
        raise UsageError(
            f"{name} needs {least.name.lower()} of every member; {weak.name} gives {weak.access.name.lower()}."
        )
    told = "|".join([name, *(member.digest for member in members)])
    return Ensemble(
        call=partial(_mean_scores, members),
        domain=_same("range", [m.domain for m in members if m.domain != Domain()], members) or Domain(),
        access=min(member.access for member in members),
        classes=_same("number of classes", [m.classes for m in members if m.classes is not None], members),
        chunk=min((m.chunk for m in members if m.chunk), default=0),
        numbers=min((m.numbers for m in members if m.numbers), default=0),
        name=f"{name}({', '.join(member.name for member in members)})",
        digest=hashlib.sha256(told.encode()).hexdigest(),
        device=_same("device", [member.device for member in members], members) or members[0].device,
        labels=members[0].labels,
        members=members,
        mean=mean,
    )


def _mean_scores(members: tuple[Model, ...], z: Any) -> Tensor:
    answers = [member.answer(z.clone() if isinstance(z, Tensor) else z) for member in members]
    shapes = {tuple(answer.shape) for answer in answers}
    if len(shapes) > 1:
        raise UsageError(
            f"the members of an ensemble answer different shapes: {sorted(shapes)}. Give models of the same classes."
        )
    return torch.stack(answers).mean(0)


def _same(what: str, values: list[Any], members: tuple[Model, ...]) -> Any:
    """The value all members that know it share, or None.

    Raises:
        UsageError: they differ.
    """
    if len(set(values)) > 1:
        told = ", ".join(f"{value}" for value in values)
        raise UsageError(
            f"the members of an ensemble share one {what}; {', '.join(m.name for m in members)} have {told}."
        )
    return values[0] if values else None
