"""The last look before an audit: does this model answer for these data, and does this eps mean something here?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robustly.adapters.data import Data
from robustly.adapters.outputs import Call, labels_of, picked, scores_of
from robustly.adapters.ranges import has_noted_range, refuse_outside, with_range
from robustly.core.errors import ModelRaised, UsageError
from robustly.core.rows import Batch
from robustly.oracle.model import Access, Model
from robustly.threats import (
    L0,
    L1,
    L2,
    Both,
    Colour,
    Corrupt,
    Domain,
    Edits,
    Features,
    Flow,
    Grid,
    Linf,
    Patch,
    Rotate,
    Shift,
    Ssim,
    Threat,
    eps_of,
)

PATIENCE = 8  # examples asked before a model that raises is said to raise on all


class Checked(NamedTuple):
    """model: with what was learnt (classes, range, access). warnings: for the record. forward, backward: passes spent."""

    model: Model
    warnings: tuple[str, ...]
    forward: int
    backward: int = 0


def check_pair(model: Model, data: Data) -> Checked:
    """Ask the model about the first two examples and compare what it says with the data.

    Fills in the classes and, where the model declares none, the range found in the data; takes gradients off a model
    whose answer autograd can't follow; and shields the data from a model that writes into its input.

    Raises:
        UsageError: values outside the model's range, answers of a wrong shape, labels or class names beyond its
            classes, or a model that raises on each of the first examples.
    """
    model = in_range(model, data)
    found, spent = _first_answer(model, data)
    warnings: list[str] = []
    if found.wrote:
        model = replace(model, call=shielded(model.call), module=None)
        warnings.append("the model writes into its input: it is given copies, and the twin and the bounds are off")
    if found.note:
        model = replace(model, module=None, notes=(*model.notes, found.note))
    if isinstance(data.x, tuple):
        model = model.granting(Access.SCORES)  # a text has no gradient
    elif found.barrier:
        model = model.granting(Access.SCORES)
        warnings.append(
            f"no gradient flows through the model ({found.barrier}): query attacks only, "
            "which find less. Give the differentiable network if you have it"
        )
    if model.access is Access.LABELS:
        return Checked(_with_labels(model, data), tuple(warnings), spent)
    model, told = check_scores(model, data, found.answer.detach())
    warnings += told
    return Checked(model, tuple(warnings), spent, found.backward)


def check_scores(model: Model, data: Data, scores: Tensor) -> tuple[Model, tuple[str, ...]]:
    """What some scores (R, K) of the model say of it: the model with its classes, and warnings. Costs no pass.

    Raises:
        UsageError: another number of classes than declared, or labels or class names beyond them.
    """
    model = _with_classes(model, data, scores.shape[1])
    warnings = []
    if 0 < len(data.classes) < scores.shape[1]:
        warnings.append(
            f"the data name {len(data.classes)} classes and the model has {scores.shape[1]}: label 0 is taken as its "
            "score 0, and so on. Give classes=(...) in the model's order if that is wrong"
        )
    if _like_probabilities(scores):
        warnings.append(
            "the scores look like probabilities (each row is in [0, 1] and sums to 1): cross-entropy on "
            "probabilities is weak. "
            "Return logits, or log(p), from the model"
        )
    return model, tuple(warnings)


def check_labels(data: Data, classes: int | None) -> None:
    """Raise for a label that is none of the model's; with classes=None, where their number isn't known, never.

    Raises:
        UsageError: names the first such label and its example.
    """
    if classes is None or int(data.y.max()) < classes:
        return
    index = int((data.y >= classes).nonzero()[0])
    from_one = int(data.y.min()) == 1 and int(data.y.max()) == classes
    hint = " Labels seem to start at 1: subtract 1." if from_one else ""
    told = f"but the model has {classes} classes, with the labels 0 to {classes - 1}.{hint}"
    raise UsageError(f"label {index} is {int(data.y[index])}, {told}")


def in_range(model: Model, data: Data) -> Model:
    """The model with the range it declares, in which the data must lie; where it declares none, with that of the data.

    The notes say which. Costs no pass; given its own result and the same data, it changes nothing.

    Raises:
        UsageError: a value outside the declared range; names the example, the place, the value and the remedy.
    """
    if not isinstance(data.x, Tensor):
        return model
    if model.domain != Domain():
        refuse_outside(data.x, model.domain)
        return model if has_noted_range(model) else with_range(model, model.domain, "declared")
    if data.domain == Domain():
        return model
    return with_range(model, data.domain, "declared with the data" if data.declared else "detected in the data")


def check_eps(threat: Threat, data: Data, model: Model) -> tuple[str, ...]:
    """Warnings about a size that covers everything, or that no 8-bit image could show. eps = 0 is fine, and so is inf,
    which is no size but a search for the least."""
    eps = eps_of(threat)
    if eps == math.inf:
        return ()
    if isinstance(data.x, tuple):
        shortest = min(map(len, data.x))
        if isinstance(threat, Edits) and eps >= shortest > 0:
            return (f"{threat} may rewrite the whole of the shortest text, which has {shortest} characters",)
        return ()
    domain = _narrower(model.domain, data.domain)
    width, whole = domain.high - domain.low, _whole(threat, data, domain)
    if whole is not None and eps >= whole:
        told = f"eps {eps:g} of {threat} covers the whole range {domain} (from {whole:g} on): every input can become "
        return (told + "every other, so no model is robust. Choose a smaller eps, in input units",)
    if data.kind == "image" and math.isfinite(width) and 0 < eps < width / 255 and not _counts(threat):
        told = f"eps {eps:g} of {threat} is below one step of an 8-bit image, {width / 255:.4g} ({width:g}/255): as an "
        return (told + f"image file no input would change. Choose eps in input units, say {8 * width / 255:.3g}",)
    return ()


class _Found(NamedTuple):
    answer: Tensor
    wrote: bool
    note: str | None
    barrier: str = ""  # why no gradient reaches the input, where one was asked for
    backward: int = 0


def _first_answer(model: Model, data: Data) -> tuple[_Found, int]:
    """What the model says of the first two examples; if it raises there, of the first single one it answers for."""
    parts = [slice(0, 2), *(slice(i, i + 1) for i in range(min(len(data), PATIENCE)))]
    spent, first = 0, ""
    for part in parts:
        spent += len(data.y[part])
        try:
            return _asked(model, data.x[part]), spent
        except ModelRaised as error:
            first = first or str(error)
    raise UsageError(
        f"the model raised on each of the first {len(parts) - 1} examples (each {data.shape or 'a text'}). First: "
        f"{first}. Check the size, the order of the axes (layout) and the type that the model wants."
    )


def _asked(model: Model, x: Batch) -> _Found:
    call = model.call
    check = labels_of if model.access is Access.LABELS else scores_of
    raw, read = (call.raw, call.read) if isinstance(call, Call) else (call, check)
    bare = replace(model, call=raw)  # its own answer, before it is read; what it raises is told as ever
    if not isinstance(x, Tensor):
        with torch.no_grad():
            answer = bare.answer(x)
        return _Found(read(answer, len(x)), False, picked(answer))
    # A copy that no one holds, which is no leaf: a model that writes into it does no harm and is noticed.
    given = x.to(model.device).clone().requires_grad_(model.access is Access.GRADIENTS)
    with torch.set_grad_enabled(model.access is Access.GRADIENTS):
        copy = given.clone()
        answer = bare.answer(copy)
        wrote = not torch.equal(copy.detach(), given.detach())
        scores = read(answer, len(x))
        barrier, backward = _barrier(bare, scores, given) if given.requires_grad else ("", 0)
        return _Found(scores, wrote, picked(answer), barrier, backward)


def _barrier(model: Model, scores: Tensor, given: Tensor) -> tuple[str, int]:
    """Why no gradient of the scores reaches the input, if so; and the backward passes spent to see it.

    That the scores require a gradient says nothing: it may be that of the weights.
    """
    inside = "no_grad, detach, rounding or numpy inside"
    if not scores.requires_grad:
        return inside, 0
    try:
        with model.blamed():
            grad = torch.autograd.grad(scores.sum(), given, allow_unused=True)[0]
    except ModelRaised as error:
        return f"going backward, {error}", len(given)
    return (inside if grad is None else ""), len(given)


def shielded(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same call on a copy of its input."""

    def copied(z: Any) -> Any:
        return call(z.clone() if isinstance(z, Tensor) else z)

    return copied


def _with_classes(model: Model, data: Data, count: int) -> Model:
    if model.classes not in (None, count):
        raise UsageError(f"the model was said to have {model.classes} classes, but it answers {count} scores.")
    if len(data.classes) > count:
        told = ", ".join(data.classes[:5]) + (", ..." if len(data.classes) > 5 else "")
        raise UsageError(
            f"the data have {len(data.classes)} classes ({told}), but the model answers {count} scores. "
            "Give the model that was trained on these classes."
        )
    check_labels(data, count)
    return replace(model, classes=count, labels=model.labels or data.classes)


def _with_labels(model: Model, data: Data) -> Model:
    count = model.classes or len(data.classes) or None
    check_labels(data, count)
    return replace(model, classes=count, labels=model.labels or data.classes)


def _like_probabilities(scores: Tensor) -> bool:
    if not torch.isfinite(scores).all():
        return False
    inside = bool(((scores >= 0) & (scores <= 1)).all())
    return inside and bool(((scores.double().sum(1) - 1).abs() < 1e-3).all())


def _narrower(one: Domain, other: Domain) -> Domain:
    return one if one != Domain() else other


def _counts(threat: Threat) -> bool:
    """Is its size none in input units: a count, an angle, a distance of images?"""
    measured = (L0, Edits, Rotate, Shift, Corrupt, Flow, Colour, Ssim, Patch, Features)
    return isinstance(threat.threat if isinstance(threat, Grid) else threat, measured)


def _whole(threat: Threat, data: Data, domain: Domain) -> float | None:
    """The eps from which the set is the whole box, in the threat's measure; None where there is none."""
    size, width = math.prod(data.shape), domain.high - domain.low
    if isinstance(threat, Grid):
        return _whole(threat.threat, data, domain)
    if isinstance(threat, Both):
        return (
            None
            if (second := _whole(threat.second, data, domain)) is None or eps_of(threat.second) < second
            else _whole(threat.first, data, domain)
        )
    if isinstance(threat, L0):
        return float(size)
    if not math.isfinite(width):
        return None
    if isinstance(threat, Linf):
        return width
    if isinstance(threat, L2):
        return width * math.sqrt(size)
    return width * size if isinstance(threat, L1) else None
